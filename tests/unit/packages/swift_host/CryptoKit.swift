import Foundation

/// Stands for Apple's module where it is not: SHA-256 (FIPS 180-4) of whole data.
public enum SHA256 {
    public static func hash(data: Data) -> [UInt8] {
        var state = primes(8).map { fraction(Double($0).squareRoot()) }
        let constants = primes(64).map { fraction(cbrt(Double($0))) }
        var message = [UInt8](data)
        let bits = UInt64(message.count) * 8
        message.append(0x80)
        while message.count % 64 != 56 { message.append(0) }
        for shift: UInt64 in [56, 48, 40, 32, 24, 16, 8, 0] { message.append(UInt8((bits >> shift) & 0xff)) }
        for chunk in stride(from: 0, to: message.count, by: 64) {
            state = compress(state, words(message[chunk..<(chunk + 64)]), constants)
        }
        var digest: [UInt8] = []
        for word in state {
            for shift: UInt32 in [24, 16, 8, 0] { digest.append(UInt8((word >> shift) & 0xff)) }
        }
        return digest
    }

    private static func primes(_ count: Int) -> [Int] {
        var found: [Int] = []
        var next = 2
        while found.count < count {
            if !found.contains(where: { next % $0 == 0 }) { found.append(next) }
            next += 1
        }
        return found
    }

    private static func fraction(_ value: Double) -> UInt32 {
        UInt32((value - value.rounded(.down)) * 4_294_967_296)
    }

    private static func rotated(_ word: UInt32, _ by: UInt32) -> UInt32 {
        (word >> by) | (word << (32 - by))
    }

    private static func words(_ chunk: ArraySlice<UInt8>) -> [UInt32] {
        let bytes = Array(chunk).map { UInt32($0) }
        var out: [UInt32] = []
        for at in stride(from: 0, to: 64, by: 4) {
            var word: UInt32 = 0
            for byte in bytes[at..<(at + 4)] { word = word << 8 | byte }
            out.append(word)
        }
        for at in 16..<64 {
            let early = rotated(out[at - 15], 7) ^ rotated(out[at - 15], 18) ^ (out[at - 15] >> 3)
            let late = rotated(out[at - 2], 17) ^ rotated(out[at - 2], 19) ^ (out[at - 2] >> 10)
            out.append(out[at - 16] &+ early &+ out[at - 7] &+ late)
        }
        return out
    }

    private static func compress(_ state: [UInt32], _ words: [UInt32], _ constants: [UInt32]) -> [UInt32] {
        var v = state
        for (word, constant) in zip(words, constants) {
            let high = rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25)
            let chosen = (v[4] & v[5]) ^ (~v[4] & v[6])
            let first = v[7] &+ high &+ chosen &+ constant &+ word
            let low = rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22)
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2])
            v = [first &+ low &+ majority, v[0], v[1], v[2], v[3] &+ first, v[4], v[5], v[6]]
        }
        return zip(state, v).map { $0 &+ $1 }
    }
}
