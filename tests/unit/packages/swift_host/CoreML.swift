import Foundation

/// Stands for Apple's module where it is not: the types that the runner calls, on outputs that it is told.
public enum CoreMlFake {
    public static var inputs: [String] = []
    /// Outputs of one run after another, by name.
    public static var answers: [[String: MLMultiArray]] = []
    public static var runs = 0
}

public enum MLComputeUnits { case all, cpuOnly }

public final class MLModelConfiguration {
    public var computeUnits = MLComputeUnits.all

    public init() {}
}

public final class MLMultiArray {
    let floats: [Float]
    let integers: [Int32]
    public let shape: [Int]

    public init(_ shaped: MLShapedArray<Float>) {
        floats = shaped.scalars
        integers = []
        shape = shaped.shape
    }

    public init(_ shaped: MLShapedArray<Int32>) {
        floats = []
        integers = shaped.scalars
        shape = shaped.shape
    }
}

public struct MLShapedArray<Scalar> {
    public let scalars: [Scalar]
    public let shape: [Int]

    public init<S: Sequence>(scalars: S, shape: [Int]) where S.Element == Scalar {
        self.scalars = Array(scalars)
        self.shape = shape
        precondition(self.scalars.count == shape.reduce(1, *))
    }
}

extension MLShapedArray where Scalar == Float {
    public init(converting array: MLMultiArray) { self.init(scalars: array.floats, shape: array.shape) }
}

extension MLShapedArray where Scalar == Int32 {
    public init(converting array: MLMultiArray) { self.init(scalars: array.integers, shape: array.shape) }
}

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray?

    public init(multiArray: MLMultiArray) {
        multiArrayValue = multiArray
    }
}

public protocol MLFeatureProvider {
    func featureValue(for featureName: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    let held: [String: MLFeatureValue]

    public init(dictionary: [String: MLFeatureValue]) throws {
        held = dictionary
    }

    public func featureValue(for featureName: String) -> MLFeatureValue? { held[featureName] }
}

public final class MLModel {
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}

    public static func compileModel(at url: URL) throws -> URL {
        precondition(FileManager.default.fileExists(atPath: url.appendingPathComponent("Manifest.json").path))
        return url
    }

    public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider {
        for name in CoreMlFake.inputs { precondition(input.featureValue(for: name) != nil, name) }
        let answer = CoreMlFake.answers[CoreMlFake.runs % CoreMlFake.answers.count]
        CoreMlFake.runs += 1
        return try MLDictionaryFeatureProvider(dictionary: answer.mapValues { MLFeatureValue(multiArray: $0) })
    }
}
