/// What the app must know about the model: files with their hashes, inputs, outputs, steps before the model,
/// tolerances. Written by edgekit from the manifest of the bundle; do not edit.
public enum @@TYPE@@Specification {
    public static let name = @@NAME@@
    public static let version = @@VERSION@@
    /// Target and precision of the artifact, in edgekit's words.
    public static let target = @@TARGET@@
    public static let precision = @@PRECISION@@
    /// Digest of the bundle's manifest.
    public static let manifestDigest = @@MANIFEST_DIGEST@@

    /// How far outputs may be from the recorded ones: in steps, or as a part of the output's range.
    public static let toleranceSteps: Double = @@TOLERANCE_STEPS@@
    public static let toleranceOfRange: Double = @@TOLERANCE_OF_RANGE@@

    /// Inputs and outputs in the order of the reference model.
    public static let inputs: [Tensor] = [@@INPUTS@@
    ]
    public static let outputs: [Tensor] = [@@OUTPUTS@@
    ]

    /// Path below Resources/model and SHA-256 of every file.
    static let files: [String: String] = [@@FILES@@
    ]

    /// Samples that were recorded, and size and type of one raw sample of each input.
    public static let samples = @@SAMPLES@@
    static let rawShapes: [[Int]] = [@@RAW_SHAPES@@
    ]
    static let rawTypes: [ElementType] = [@@RAW_DTYPES@@
    ]

    /// The steps from a raw sample to an input; none where the app gives the input itself.
    static let steps: [[Step]] = [@@STEPS@@
    ]

    /// A raw sample of an input -> values of that input.
    ///
    /// - Parameters:
    ///   - input: position in ``inputs``.
    ///   - raw: values in row-major order.
    ///   - shape: their sizes: (height, width) or (height, width, channels) for an image.
    public static func prepare(_ input: Int, raw: [Float], shape: [Int]) throws -> Values {
        var sample = try Sample(values: raw, shape: shape)
        for step in steps[input] {
            sample = try step.apply(to: sample)
        }
        let wanted = Array(inputs[input].shape.dropFirst())
        guard sample.shape == wanted else {
            throw ModelError.wrongShape("a sample gives \(sample.shape), the model takes \(wanted)")
        }
        return try Values(floats: sample.values, type: inputs[input].type)
    }
}
