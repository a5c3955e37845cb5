/// Values of one sample in row-major order, and their sizes.
struct Sample {
    let values: [Float]
    let shape: [Int]

    init(values: [Float], shape: [Int]) throws {
        guard values.count == shape.reduce(1, *) else {
            throw ModelError.wrongShape("\(values.count) values do not fill \(shape)")
        }
        self.values = values
        self.shape = shape
    }

    /// (height, width) -> (height, width, 1).
    func image() throws -> Sample {
        if shape.count == 2 {
            return try Sample(values: values, shape: shape + [1])
        }
        guard shape.count == 3 else {
            throw ModelError.wrongShape("an image has two or three axes, not \(shape.count)")
        }
        return self
    }
}

/// One step from the raw sample to the input, in the arithmetic that edgekit used (float32).
enum Step {
    /// Half-pixel centres, edges clamped, no antialiasing (ONNX Resize, "half_pixel").
    case resize(height: Int, width: Int, nearest: Bool)
    case scale(Float)
    /// One value for each index of the last axis, or one for all.
    case normalize(mean: [Float], std: [Float])
    case channelsFirst
    case image
    case truncate
    /// Rounded half to even, from 0 to 255.
    case bytes

    func apply(to x: Sample) throws -> Sample {
        switch self {
        case .resize(let height, let width, let nearest):
            let rows = try Step.resized(try x.image(), axis: 0, to: height, nearest: nearest)
            return try Step.resized(rows, axis: 1, to: width, nearest: nearest)
        case .scale(let by):
            return try Sample(values: x.values.map { $0 * by }, shape: x.shape)
        case .normalize(let mean, let std):
            return try Step.normalized(x, mean: mean, std: std)
        case .channelsFirst:
            return try Step.channelsFirst(try x.image())
        case .image:
            return try x.image()
        case .truncate:
            return try Sample(values: x.values.map { $0.rounded(.towardZero) }, shape: x.shape)
        case .bytes:
            let values = x.values.map { max(0, min(255, $0.rounded(.toNearestOrEven))) }
            return try Sample(values: values, shape: x.shape)
        }
    }

    private static func resized(_ x: Sample, axis: Int, to size: Int, nearest: Bool) throws -> Sample {
        let old = x.shape[axis]
        let outer = axis == 0 ? 1 : x.shape[0]
        let inner = axis == 0 ? x.shape[1] * x.shape[2] : x.shape[2]
        var out = [Float](repeating: 0, count: outer * size * inner)
        for i in 0..<size {
            let centre = (Double(i) + 0.5) * (Double(old) / Double(size)) - 0.5
            let low = Int(centre.rounded(.down))
            let weight = Float(centre - Double(low))
            let below = clamped(nearest ? Int((centre - 0.5).rounded(.up)) : low, old)
            let above = clamped(low + 1, old)
            for o in 0..<outer {
                for k in 0..<inner {
                    let a = x.values[(o * old + below) * inner + k]
                    let b = x.values[(o * old + above) * inner + k]
                    out[(o * size + i) * inner + k] = nearest ? a : a * (1 - weight) + b * weight
                }
            }
        }
        var shape = x.shape
        shape[axis] = size
        return try Sample(values: out, shape: shape)
    }

    private static func clamped(_ at: Int, _ size: Int) -> Int {
        max(0, min(size - 1, at))
    }

    private static func normalized(_ x: Sample, mean: [Float], std: [Float]) throws -> Sample {
        let last = x.shape.last ?? 1
        guard [1, last].contains(mean.count), [1, last].contains(std.count) else {
            throw ModelError.wrongShape("normalize does not fit \(last) channels")
        }
        let values = x.values.enumerated().map { at, value -> Float in
            let channel = at % last
            let centred = value - mean[mean.count == 1 ? 0 : channel]
            return centred / std[std.count == 1 ? 0 : channel]
        }
        return try Sample(values: values, shape: x.shape)
    }

    private static func channelsFirst(_ x: Sample) throws -> Sample {
        let pixels = x.shape[0] * x.shape[1]
        let channels = x.shape[2]
        var out = [Float](repeating: 0, count: x.values.count)
        for pixel in 0..<pixels {
            for channel in 0..<channels {
                out[channel * pixels + pixel] = x.values[pixel * channels + channel]
            }
        }
        return try Sample(values: out, shape: [channels, x.shape[0], x.shape[1]])
    }
}
