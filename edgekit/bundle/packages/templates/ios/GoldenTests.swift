import XCTest

@testable import @@TYPE@@Kit

final class GoldenTests: XCTestCase {
    func testFilesAreWhatWasPackaged() throws {
        try Files.verify()
    }

    func testTheCpuGivesTheGoldenOutputs() throws {
        let runner = try @@TYPE@@Runner.open(policy: [.cpu])
        let test = try runner.selfTest()
        XCTAssertTrue(test.passed, "\(test.differences)")
        XCTAssertFalse(runner.placement.fellBack)
    }

    func testAFallBackHasItsReason() throws {
        let runner = try @@TYPE@@Runner.open()
        for refused in runner.placement.refused {
            XCTAssertFalse(refused.reason.isEmpty)
        }
    }
}
