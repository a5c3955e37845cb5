/// Element types of inputs and outputs.
public enum ElementType: String {
    case float32, int32, int64, int8, uint8, bool

    var bytes: Int {
        switch self {
        case .float32, .int32: return 4
        case .int64: return 8
        case .int8, .uint8, .bool: return 1
        }
    }
}

/// What can go wrong besides the runtime's own errors.
public enum ModelError: Error {
    case damaged(String)
    case wrongShape(String)
    case wrongType(String)
    case noDelegate([Refused])
    case wrongOutputs(String)
}

/// Values in row-major order.
public enum Values: Equatable {
    case float32([Float])
    case int32([Int32])
    case int64([Int64])
    case int8([Int8])
    case uint8([UInt8])
    case bool([Bool])

    public var count: Int {
        switch self {
        case .float32(let values): return values.count
        case .int32(let values): return values.count
        case .int64(let values): return values.count
        case .int8(let values): return values.count
        case .uint8(let values): return values.count
        case .bool(let values): return values.count
        }
    }

    /// The values as real numbers.
    public var reals: [Double] {
        switch self {
        case .float32(let values): return values.map { Double($0) }
        case .int32(let values): return values.map { Double($0) }
        case .int64(let values): return values.map { Double($0) }
        case .int8(let values): return values.map { Double($0) }
        case .uint8(let values): return values.map { Double($0) }
        case .bool(let values): return values.map { $0 ? 1 : 0 }
        }
    }

    /// The values of `order`, one after another.
    func taken(_ order: [Int]) -> Values {
        switch self {
        case .float32(let values): return .float32(order.map { values[$0] })
        case .int32(let values): return .int32(order.map { values[$0] })
        case .int64(let values): return .int64(order.map { values[$0] })
        case .int8(let values): return .int8(order.map { values[$0] })
        case .uint8(let values): return .uint8(order.map { values[$0] })
        case .bool(let values): return .bool(order.map { values[$0] })
        }
    }

    /// The values as another element type; a value that it cannot hold is an error.
    func cast(to type: ElementType) throws -> Values {
        switch (self, type) {
        case (.float32, .float32), (.int32, .int32), (.int64, .int64): return self
        case (.int8, .int8), (.uint8, .uint8), (.bool, .bool): return self
        case (.int64(let values), .int32):
            return .int32(
                try values.map { value in
                    guard let narrow = Int32(exactly: value) else {
                        throw ModelError.wrongType("\(value) does not fit into int32")
                    }
                    return narrow
                })
        case (.int32(let values), .int64): return .int64(values.map { Int64($0) })
        default: throw ModelError.wrongType("values are not \(type.rawValue)")
        }
    }

    /// A sample that pre-processing gave, as the reference model's element type.
    init(floats: [Float], type: ElementType) throws {
        switch type {
        case .float32: self = .float32(floats)
        case .int32: self = .int32(floats.map { Int32($0) })
        case .int64: self = .int64(floats.map { Int64($0) })
        case .int8: self = .int8(floats.map { Int8($0) })
        case .uint8: self = .uint8(floats.map { UInt8($0) })
        case .bool: throw ModelError.wrongType("a sample has no truth values")
        }
    }
}

/// One input or output: values as the reference model has them, and as the file has them.
///
///     inside = cast(quantize(transpose(values)))          values = transpose(cast(dequantize(inside)))
///     integer = clip(round_half_even(real / scale) + zeroPoint)    real = scale * (integer - zeroPoint)
public struct Tensor {
    /// Name in the reference model.
    public let name: String
    /// Name in the file's signature.
    public let inside: String
    /// Element type of the reference model.
    public let type: ElementType
    /// Element type of the file.
    public let insideType: ElementType
    /// Sizes in the reference model, the batch (1) first.
    public let shape: [Int]
    /// Axis i of the file is axis permutation[i]; empty where the layouts are the same.
    public let permutation: [Int]
    /// Step of the file's integers; 0 where it takes what the reference takes.
    public let scale: Float
    /// Integer that stands for 0.
    public let zeroPoint: Int
    /// One quantization step of the output in real units; 0 where it is not quantized.
    public let step: Double

    /// Number of elements.
    public var count: Int { shape.reduce(1, *) }

    /// Values of the reference -> values of the file.
    func toModel(_ values: Values) throws -> Values {
        guard values.count == count else {
            throw ModelError.wrongShape("\(name) has \(values.count) elements instead of \(count)")
        }
        let moved = permutation.isEmpty ? values : values.taken(order())
        guard scale != 0 else { return try moved.cast(to: insideType) }
        guard case .float32(let reals) = moved else {
            throw ModelError.wrongType("\(name) takes float32")
        }
        let low: Double = insideType == .int8 ? -128 : 0
        let integers = reals.map { real -> Int in
            let steps = Double((real / scale).rounded(.toNearestOrEven))
            let whole = steps.isNaN ? 0 : steps
            return Int(max(low, min(low + 255, whole + Double(zeroPoint))))
        }
        return insideType == .int8 ? .int8(integers.map { Int8($0) }) : .uint8(integers.map { UInt8($0) })
    }

    /// Values of the file -> values of the reference.
    func fromModel(_ values: Values) throws -> Values {
        guard values.count == count else {
            throw ModelError.wrongShape("\(name) has \(values.count) elements instead of \(count)")
        }
        var found = values
        if scale != 0 {
            found = .float32(values.reals.map { Float(($0 - Double(zeroPoint)) * Double(scale)) })
        }
        guard !permutation.isEmpty else { return try found.cast(to: type) }
        var back = [Int](repeating: 0, count: count)
        for (at, from) in order().enumerated() {
            back[from] = at
        }
        return try found.taken(back).cast(to: type)
    }

    /// Element of the file -> element of the reference.
    private func order() -> [Int] {
        var strides = [Int](repeating: 1, count: shape.count)
        for axis in stride(from: shape.count - 2, through: 0, by: -1) {
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        }
        return (0..<count).map { at in
            var rest = at
            var from = 0
            for axis in permutation.reversed() {
                from += rest % shape[axis] * strides[axis]
                rest /= shape[axis]
            }
            return from
        }
    }
}
