import CryptoKit
import Foundation

/// Path below Resources/model -> a file that is what edgekit packaged.
enum Files {
    static func url(_ path: String) throws -> URL {
        guard let root = Bundle.module.resourceURL else {
            throw ModelError.damaged("the package has no resources")
        }
        return root.appendingPathComponent("model").appendingPathComponent(path)
    }

    /// The content; a file that is missing or whose SHA-256 is another one is an error.
    static func read(_ path: String) throws -> Data {
        guard let wanted = @@TYPE@@Specification.files[path] else {
            throw ModelError.damaged("\(path) is not part of the package")
        }
        let content: Data
        do {
            content = try Data(contentsOf: try url(path), options: .mappedIfSafe)
        } catch {
            throw ModelError.damaged("\(path) cannot be read: \(error)")
        }
        let found = SHA256.hash(data: content).map { String(format: "%02x", $0) }.joined()
        guard found == wanted else {
            throw ModelError.damaged("\(path) is damaged: sha256 \(found) instead of \(wanted)")
        }
        return content
    }

    /// Every file is what edgekit packaged.
    static func verify() throws {
        for path in @@TYPE@@Specification.files.keys.sorted() {
            _ = try read(path)
        }
    }

    /// Names of the classes, in order; empty where the model has none.
    static func labels() throws -> [String] {
        let text = String(decoding: try read("labels.txt"), as: UTF8.self)
        return text.split(separator: "\n").map { String($0) }
    }
}
