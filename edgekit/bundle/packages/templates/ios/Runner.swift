import Foundation
import LiteRT

/// Where a model may run.
public enum Delegate: String {
    case gpu, cpu
}

/// A delegate that was tried and is not used, and why.
public struct Refused {
    public let delegate: Delegate
    public let reason: String
}

/// What was asked for, what runs, and every delegate that was passed over with its reason.
public struct Placement {
    public let asked: [Delegate]
    public let used: Delegate
    public let refused: [Refused]
    /// Whether something else runs than what was asked for first.
    public var fellBack: Bool { !refused.isEmpty }
}

/// Values of the inputs, flat and row-major, in the reference model's layout.
public struct @@TYPE@@Inputs {
@@INPUT_FIELDS@@

    public init(@@INPUT_PARAMETERS@@) {
@@INPUT_ASSIGNMENTS@@
    }

    var _values: [Values] { [@@INPUT_VALUES@@] }
}

/// Values of the outputs, likewise.
public struct @@TYPE@@Outputs {
@@OUTPUT_FIELDS@@

    init(_ found: [Values]) throws {
        guard @@OUTPUT_PATTERNS@@ else {
            throw ModelError.wrongType("the model gives other types than its specification says")
        }
@@OUTPUT_ASSIGNMENTS@@
    }
}

/// The model on LiteRT. Not thread-safe: one runner for each thread.
///
/// Written by edgekit; what it knows about the model is in ``@@TYPE@@Specification``.
public final class @@TYPE@@Runner {
    /// What runs, and why it is not what was asked for.
    public let placement: Placement

    private let model: CompiledModel
    private let inputBuffers: [String: TensorBuffer]
    private let outputBuffers: [String: TensorBuffer]
    private let inputOrder: [String]
    private let outputOrder: [String]

    /// The model on the first delegate of `policy` that takes all of it and gives the golden outputs.
    ///
    /// A delegate is asked for alone: one that would leave operators to the CPU refuses, and is reported in
    /// ``Placement/refused`` instead of running slower than promised. Call it off the main thread.
    ///
    /// - Throws: `ModelError.damaged` where a file changed, `ModelError.noDelegate` with every reason.
    public static func open(policy: [Delegate] = [.gpu, .cpu]) throws -> @@TYPE@@Runner {
        try Files.verify()
        var refused: [Refused] = []
        for delegate in policy {
            let placement = Placement(asked: policy, used: delegate, refused: refused)
            do {
                let runner = try @@TYPE@@Runner(placement: placement)
                let test = try runner.selfTest()
                if test.passed { return runner }
                let first = test.differences.first ?? "no sample was run"
                refused.append(Refused(delegate: delegate, reason: "golden vectors differ: \(first)"))
            } catch {
                refused.append(Refused(delegate: delegate, reason: "\(error)"))
            }
        }
        throw ModelError.noDelegate(refused)
    }

    private init(placement: Placement) throws {
        self.placement = placement
        let options = try Options()
        try options.setHardwareAccelerators(placement.used == .gpu ? [.gpu] : [.cpu])
        let path = try Files.url("model.tflite").path
        let compiled = try CompiledModel(filePath: path, environment: try Environment(), options: options)
        let inputs = try compiled.createInputBuffers()
        let outputs = try compiled.createOutputBuffers()
        inputOrder = try inputs.indices.map { try compiled.inputName(inputIndex: $0) }
        outputOrder = try outputs.indices.map { try compiled.outputName(outputIndex: $0) }
        inputBuffers = Dictionary(uniqueKeysWithValues: zip(inputOrder, inputs))
        outputBuffers = Dictionary(uniqueKeysWithValues: zip(outputOrder, outputs))
        model = compiled
    }

    /// One inference.
    public func run(_ inputs: @@TYPE@@Inputs) throws -> @@TYPE@@Outputs {
        try @@TYPE@@Outputs(infer(inputs._values))
    }

    /// The golden vectors, from the raw sample on, against what the model gave where it was released.
    public func selfTest() throws -> SelfTest {
        let recorded = @@TYPE@@Specification.outputs.indices.map { "golden/output_\($0).bin" }
        return try Golden.test(
            try Golden.samples(outputs: recorded),
            steps: @@TYPE@@Specification.toleranceSteps,
            ofRange: @@TYPE@@Specification.toleranceOfRange,
            infer: infer)
    }

    /// Names of the classes, in order; empty where the model has none.
    public static func labels() throws -> [String] { try Files.labels() }

    private func infer(_ values: [Values]) throws -> [Values] {
        for (tensor, given) in zip(@@TYPE@@Specification.inputs, values) {
            try write(try buffer(tensor, inputBuffers), try tensor.toModel(given))
        }
        try model.run(
            inputs: inputOrder.compactMap { inputBuffers[$0] },
            outputs: outputOrder.compactMap { outputBuffers[$0] })
        return try @@TYPE@@Specification.outputs.map { tensor in
            try tensor.fromModel(try read(try buffer(tensor, outputBuffers), tensor))
        }
    }

    private func buffer(_ tensor: Tensor, _ held: [String: TensorBuffer]) throws -> TensorBuffer {
        guard let found = held[tensor.inside] else {
            throw ModelError.wrongType("the model has no \(tensor.inside)")
        }
        return found
    }

    private func write(_ buffer: TensorBuffer, _ values: Values) throws {
        switch values {
        case .float32(let given): try buffer.write(given)
        case .int32(let given): try buffer.write(given)
        case .int64(let given): try buffer.write(given)
        case .int8(let given): try buffer.write(given)
        case .uint8(let given): try buffer.write(given)
        case .bool(let given): try buffer.write(given)
        }
    }

    private func read(_ buffer: TensorBuffer, _ tensor: Tensor) throws -> Values {
        let data: Data = try buffer.read()
        return try Golden.values(data, type: tensor.insideType, count: tensor.count, sample: 0)
    }
}
