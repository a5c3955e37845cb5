#if WITH_COREML
import CoreML
#endif
import Foundation
import LiteRT

/// Opens the runner on the stand-in and writes what the package computed, little-endian, to the second argument.
let out = URL(fileURLWithPath: CommandLine.arguments[2])

func bytes(_ values: Values) -> Data {
    switch values {
    case .float32(let held): return held.withUnsafeBytes { Data($0) }
    case .int32(let held): return held.withUnsafeBytes { Data($0) }
    case .int64(let held): return held.withUnsafeBytes { Data($0) }
    case .int8(let held): return held.withUnsafeBytes { Data($0) }
    case .uint8(let held): return held.withUnsafeBytes { Data($0) }
    case .bool(let held): return held.withUnsafeBytes { Data($0) }
    }
}

func put(_ name: String, _ values: Values) throws {
    try bytes(values).write(to: out.appendingPathComponent("\(name).bin"))
}

do {
    let inputs = PhotoNetSpecification.inputs
    let outputs = PhotoNetSpecification.outputs
    let samples = try Golden.samples(outputs: outputs.indices.map { "golden/output_\($0).bin" })
    // The file's own order is another one than the reference's: the runner goes by name.
    Fake.inputs = inputs.map { ($0.inside, $0.count * $0.insideType.bytes) }.reversed()
    Fake.outputs = outputs.map { ($0.inside, $0.count * $0.insideType.bytes) }.reversed()
    Fake.answers = try samples.map { sample in
        try outputs.enumerated().map { at, tensor in bytes(try tensor.toModel(sample.outputs[at])) }.reversed()
    }
    print("labels", try PhotoNetRunner.labels())
    for gpu in ["works", "refuses", "wrong"] {
        Fake.gpu = gpu
        let placement = try PhotoNetRunner.open().placement
        print(gpu, placement.used, placement.fellBack, placement.refused.map { $0.reason })
    }
    do {
        _ = try PhotoNetRunner.open(policy: [.gpu])
        print("only opened")
    } catch ModelError.noDelegate(let refused) {
        print("only", refused.map { $0.reason })
    }
    #if WITH_COREML
    // The same samples, as a float model would answer on Core ML; then one that is far away.
    CoreMlFake.inputs = inputs.map { $0.name }
    CoreMlFake.answers = samples.map { sample in
        var answer: [String: MLMultiArray] = [:]
        for (at, tensor) in outputs.enumerated() {
            let reals = sample.outputs[at].reals
            if tensor.type == .float32 {
                let values = reals.map { Float($0) }
                answer[tensor.name] = MLMultiArray(MLShapedArray<Float>(scalars: values, shape: tensor.shape))
            } else {
                let values = reals.map { Int32($0) }
                answer[tensor.name] = MLMultiArray(MLShapedArray<Int32>(scalars: values, shape: tensor.shape))
            }
        }
        return answer
    }
    _ = try PhotoNetCoreMLRunner.open()
    print("coreml opened")
    let far = [Float](repeating: 1000, count: outputs[0].count)
    CoreMlFake.answers[0]["scores"] = MLMultiArray(MLShapedArray<Float>(scalars: far, shape: outputs[0].shape))
    CoreMlFake.runs = 0
    do {
        _ = try PhotoNetCoreMLRunner.open(units: .cpuOnly)
    } catch ModelError.wrongOutputs(let words) {
        print("coreml refused", words)
    }
    #endif
    for (number, sample) in samples.enumerated() {
        for (at, tensor) in inputs.enumerated() {
            try put("input_\(at)_\(number)", sample.inputs[at])
            try put("inside_\(at)_\(number)", try tensor.toModel(sample.inputs[at]))
        }
        for (at, tensor) in outputs.enumerated() {
            try put("output_\(at)_\(number)", try tensor.fromModel(try tensor.toModel(sample.outputs[at])))
        }
    }
} catch {
    print("error", error)
    exit(1)
}
