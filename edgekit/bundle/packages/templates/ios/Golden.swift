import Foundation

/// One recorded sample: values of the inputs, and the outputs that they gave where the model was released.
public struct GoldenSample {
    public let inputs: [Values]
    public let outputs: [Values]
}

/// Outcome of the golden vectors: how many were run, and the first differences in words.
public struct SelfTest {
    public let samples: Int
    public let differences: [String]
    public var passed: Bool { samples > 0 && differences.isEmpty }
}

/// Recorded arrays, and whether outputs are the recorded ones within a tolerance.
enum Golden {
    /// The samples, from the raw sample on: the steps have been run over them.
    ///
    /// - Parameter outputs: files of the recorded outputs, in the order of the specification.
    static func samples(outputs: [String]) throws -> [GoldenSample] {
        let inputs = try @@TYPE@@Specification.inputs.indices.map { try Files.read("golden/input_\($0).bin") }
        let recorded = try outputs.map { try Files.read($0) }
        return try (0..<@@TYPE@@Specification.samples).map { sample in
            GoldenSample(
                inputs: try inputs.indices.map { try input($0, sample: sample, data: inputs[$0]) },
                outputs: try @@TYPE@@Specification.outputs.enumerated().map { at, tensor in
                    try values(recorded[at], type: tensor.type, count: tensor.count, sample: sample)
                })
        }
    }

    private static func input(_ at: Int, sample: Int, data: Data) throws -> Values {
        let shape = @@TYPE@@Specification.rawShapes[at]
        let count = shape.reduce(1, *)
        let type = @@TYPE@@Specification.rawTypes[at]
        let raw = try values(data, type: type, count: count, sample: sample)
        guard !@@TYPE@@Specification.steps[at].isEmpty else { return raw }
        return try @@TYPE@@Specification.prepare(at, raw: raw.reals.map { Float($0) }, shape: shape)
    }

    /// Sample `sample` of a file of samples of `count` little-endian elements.
    static func values(_ data: Data, type: ElementType, count: Int, sample: Int) throws -> Values {
        let length = count * type.bytes
        guard data.count >= (sample + 1) * length else {
            throw ModelError.wrongShape("a golden file has \(data.count) bytes")
        }
        let start = data.startIndex + sample * length
        let bytes = [UInt8](data[start..<(start + length)])
        switch type {
        case .float32: return .float32(integers(bytes, UInt32.self).map { Float(bitPattern: $0) })
        case .int32: return .int32(integers(bytes, Int32.self))
        case .int64: return .int64(integers(bytes, Int64.self))
        case .int8: return .int8(bytes.map { Int8(bitPattern: $0) })
        case .uint8: return .uint8(bytes)
        case .bool: return .bool(bytes.map { $0 != 0 })
        }
    }

    private static func integers<Number: FixedWidthInteger>(_ bytes: [UInt8], _ type: Number.Type) -> [Number] {
        let size = Number.bitWidth / 8
        return (0..<(bytes.count / size)).map { at in
            var value: Number = 0
            for byte in (0..<size).reversed() {
                value = (value << 8) | Number(truncatingIfNeeded: bytes[at * size + byte])
            }
            return value
        }
    }

    /// The samples run through `infer` and held against what was recorded.
    ///
    /// - Parameters:
    ///   - steps: allowed difference of quantized outputs, in steps; 0 = as a part of the range as well.
    ///   - ofRange: allowed difference of the others.
    static func test(
        _ samples: [GoldenSample], steps: Double, ofRange: Double, infer: ([Values]) throws -> [Values]
    ) throws -> SelfTest {
        var differences: [String] = []
        let tensors = @@TYPE@@Specification.outputs
        let spreads = tensors.indices.map { at in spread(samples.flatMap { $0.outputs[at].reals }) }
        for (number, sample) in samples.enumerated() {
            let found = try infer(sample.inputs)
            for (at, tensor) in tensors.enumerated() {
                let stepped = tensor.step != 0 && steps != 0
                let words = difference(
                    found[at].reals, sample.outputs[at].reals,
                    unit: stepped ? tensor.step : spreads[at], allowed: stepped ? steps : ofRange)
                if !words.isEmpty {
                    differences.append("sample \(number): \(tensor.name) \(words)")
                }
            }
        }
        return SelfTest(samples: samples.count, differences: differences)
    }

    private static func difference(
        _ found: [Double], _ wanted: [Double], unit: Double, allowed: Double
    ) -> String {
        guard found.count == wanted.count, !found.isEmpty else {
            return "has \(found.count) elements, recorded are \(wanted.count)"
        }
        for at in found.indices {
            let gap = abs(found[at] - wanted[at]) / unit
            if !(gap <= allowed) {  // NaN counts as a difference
                return "at \(at) is \(found[at]), recorded \(wanted[at]); allowed are \(allowed) of \(unit)"
            }
        }
        return ""
    }

    private static func spread(_ values: [Double]) -> Double {
        guard let low = values.min(), let high = values.max() else { return 1 }
        return high > low ? high - low : (high != 0 ? abs(high) : 1)
    }
}
