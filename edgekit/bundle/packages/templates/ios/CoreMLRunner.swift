#if canImport(CoreML)
import CoreML
import Foundation

/// The float model on Core ML. Not thread-safe: one runner for each thread.
///
/// Core ML chooses for each operation among the units that it may use and does not say which it took:
/// `MLComputePlan` (iOS 17.4, macOS 14.4) tells.
public final class @@TYPE@@CoreMLRunner {
    /// How far outputs may be from the float model's, as a part of the output's range.
    public static let toleranceOfRange: Double = @@OF_RANGE@@

    private static let inputFeatures = [@@INPUT_FEATURES@@]
    private static let outputFeatures = [@@OUTPUT_FEATURES@@]

    private let model: MLModel

    /// The model, once its files are what was packaged and its golden outputs are the float model's.
    ///
    /// It is compiled on the device; keep the runner, or the compiled model, instead of opening it again.
    public static func open(units: MLComputeUnits = .all) throws -> @@TYPE@@CoreMLRunner {
        try Files.verify()
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        let compiled = try MLModel.compileModel(at: try Files.url("model.mlpackage"))
        let model = try MLModel(contentsOf: compiled, configuration: configuration)
        let runner = @@TYPE@@CoreMLRunner(model: model)
        let test = try runner.selfTest()
        guard test.passed else {
            throw ModelError.wrongOutputs(test.differences.first ?? "no sample was run")
        }
        return runner
    }

    private init(model: MLModel) {
        self.model = model
    }

    /// One inference.
    public func run(_ inputs: @@TYPE@@Inputs) throws -> @@TYPE@@Outputs {
        try @@TYPE@@Outputs(infer(inputs._values))
    }

    /// The golden samples, from the raw sample on, against what the float model gives for them.
    public func selfTest() throws -> SelfTest {
        let recorded = @@TYPE@@Specification.outputs.indices.map { "golden/coreml_output_\($0).bin" }
        return try Golden.test(
            try Golden.samples(outputs: recorded), steps: 0,
            ofRange: @@TYPE@@CoreMLRunner.toleranceOfRange, infer: infer)
    }

    private func infer(_ values: [Values]) throws -> [Values] {
        var feeds: [String: MLFeatureValue] = [:]
        for (at, tensor) in @@TYPE@@Specification.inputs.enumerated() {
            let array = try @@TYPE@@CoreMLRunner.array(values[at], shape: tensor.shape)
            feeds[@@TYPE@@CoreMLRunner.inputFeatures[at]] = MLFeatureValue(multiArray: array)
        }
        let found = try model.prediction(from: try MLDictionaryFeatureProvider(dictionary: feeds))
        return try @@TYPE@@Specification.outputs.enumerated().map { at, tensor in
            let name = @@TYPE@@CoreMLRunner.outputFeatures[at]
            guard let array = found.featureValue(for: name)?.multiArrayValue else {
                throw ModelError.wrongType("the model gives no \(name)")
            }
            switch tensor.type {
            case .float32: return .float32(MLShapedArray<Float>(converting: array).scalars)
            default: return try Values.int32(MLShapedArray<Int32>(converting: array).scalars).cast(to: tensor.type)
            }
        }
    }

    private static func array(_ values: Values, shape: [Int]) throws -> MLMultiArray {
        switch values {
        case .float32(let given): return MLMultiArray(MLShapedArray<Float>(scalars: given, shape: shape))
        case .int32(let given): return MLMultiArray(MLShapedArray<Int32>(scalars: given, shape: shape))
        case .int64:
            guard case .int32(let given) = try values.cast(to: .int32) else {
                throw ModelError.wrongType("Core ML takes int32")
            }
            return MLMultiArray(MLShapedArray<Int32>(scalars: given, shape: shape))
        default: throw ModelError.wrongType("Core ML takes float32 and int32")
        }
    }
}
#endif
