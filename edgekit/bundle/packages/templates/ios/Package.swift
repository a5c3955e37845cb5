// swift-tools-version: 5.9
import PackageDescription

// LiteRT's package has flags that SwiftPM allows in a dependency by branch only, not by version.
let package = Package(
    name: "@@TYPE@@Kit",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [
        .library(name: "@@TYPE@@Kit", targets: ["@@TYPE@@Kit"])
    ],
    dependencies: [
        .package(url: "https://github.com/google-ai-edge/LiteRT", branch: "release/@@LITERT@@")
    ],
    targets: [
        .target(
            name: "@@TYPE@@Kit",
            dependencies: [
                .product(name: "LiteRT", package: "LiteRT"),
                .product(name: "LiteRtMetalAccelerator", package: "LiteRT"),
            ],
            resources: [.copy("Resources/model")]
        ),
        .testTarget(name: "@@TYPE@@KitTests", dependencies: ["@@TYPE@@Kit"]),
    ]
)
