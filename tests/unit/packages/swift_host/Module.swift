import Foundation

/// What SwiftPM writes for a target with resources: here, the folder that the program is given first.
extension Foundation.Bundle {
    static var module: Bundle { Bundle(path: CommandLine.arguments[1])! }
}
