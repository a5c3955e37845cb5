import Foundation

/// Stands for LiteRT's Swift module: the methods that the runner calls, on outputs that it is told.
public enum Accelerator: Int32 { case none = 0, cpu = 1, gpu = 2, npu = 4 }

public enum LiteRtError: Error { case unsupported }

/// What the stand-in does.
public enum Fake {
    /// "works", "refuses" or "wrong": what happens on the GPU.
    public static var gpu = "works"
    /// Outputs of one run after another, in the order of `outputs`.
    public static var answers: [[Data]] = []
    /// Names and bytes of inputs and outputs, in an order of the file's own.
    public static var inputs: [(String, Int)] = []
    public static var outputs: [(String, Int)] = []
}

public final class Environment {
    public init() throws {}
}

public final class Options {
    var accelerators: Set<Accelerator> = []

    public init() throws {}

    public func setHardwareAccelerators(_ accelerators: Set<Accelerator>) throws {
        self.accelerators = accelerators
    }
}

public final class TensorBuffer {
    var data = Data()
    let size: Int

    init(size: Int) {
        self.size = size
    }

    public func write<T>(_ values: [T]) throws {
        data = values.withUnsafeBytes { Data($0) }
        precondition(data.count == size, "\(data.count) bytes instead of \(size)")
    }

    public func read() throws -> Data { data }
}

public final class CompiledModel {
    private let accelerators: Set<Accelerator>
    private var runs = 0

    public init(filePath: String, environment: Environment, options: Options? = nil) throws {
        accelerators = options?.accelerators ?? []
        precondition(FileManager.default.fileExists(atPath: filePath))
        if accelerators.contains(.gpu) && Fake.gpu == "refuses" { throw LiteRtError.unsupported }
    }

    public func createInputBuffers(signatureIndex: Int = 0) throws -> [TensorBuffer] {
        Fake.inputs.map { TensorBuffer(size: $0.1) }
    }

    public func createOutputBuffers(signatureIndex: Int = 0) throws -> [TensorBuffer] {
        Fake.outputs.map { TensorBuffer(size: $0.1) }
    }

    public func inputName(inputIndex: Int, signatureIndex: Int = 0) throws -> String {
        Fake.inputs[inputIndex].0
    }

    public func outputName(outputIndex: Int, signatureIndex: Int = 0) throws -> String {
        Fake.outputs[outputIndex].0
    }

    public func run(
        inputs: [TensorBuffer], outputs: [TensorBuffer], options: Options? = nil, signatureIndex: Int = 0
    ) throws {
        precondition(inputs.allSatisfy { $0.data.count == $0.size })
        let wrong = accelerators.contains(.gpu) && Fake.gpu == "wrong"
        for (buffer, data) in zip(outputs, Fake.answers[runs % Fake.answers.count]) {
            buffer.data = wrong ? Data(count: data.count) : data
        }
        runs += 1
    }
}
