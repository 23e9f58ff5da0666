// SPDX-License-Identifier: Apache-2.0
// Goal: no bytes of a client make the NBD handshake read outside its input, keep more than an
// option's limit waiting, stop taking what it needs no more of, or agree on an export that refuses.
// Method: the first byte says what the exports are like, the second in what pieces the rest comes.
// With the third even, magic numbers are put where they belong, as nobody guesses them.
#include "frontends/nbd/negotiation.hpp"
#include "frontends/nbd/wire.hpp"
#include "tests/unit/nbd/fixed_export.hpp"

#include <algorithm>
#include <cstdint>

namespace {

using namespace gemel;
using nbd::Negotiation;

// Options from the input: number, length of the data, the data.
ByteBuffer with_magic(Bytes input) {
    ByteBuffer result;
    nbd::WireWriter writer(result);
    ByteReader reader(input);
    writer.put(std::uint32_t{3});
    while (reader.remaining() >= 4) {
        const auto option = reader.get<std::uint8_t>();
        const auto declared = reader.get<std::uint16_t>();
        const std::size_t wanted = reader.get<std::uint8_t>();
        const std::size_t size = std::min(wanted, reader.remaining());
        writer.put(nbd::kOptionMagic);
        writer.put(std::uint32_t{option});
        writer.put(static_cast<std::uint32_t>(declared == 0 ? size : declared));
        writer.bytes(reader.bytes(size));
    }
    return result;
}

void negotiate(Bytes input, std::size_t piece, const std::vector<Export*>& exports) {
    Negotiation talk(exports);
    ByteBuffer replies, waiting;
    talk.greet(replies);
    while (talk.state() == Negotiation::State::haggling) {
        // A copy of its own, so that reading behind it is noticed.
        const ByteBuffer exact(waiting);
        const std::size_t taken = talk.take(exact, replies);
        GEMEL_ASSERT(taken <= waiting.size());
        waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(taken));
        if (taken > 0) continue;
        GEMEL_ASSERT(waiting.size() < Negotiation::kInputMax);
        if (input.empty()) return;
        const Bytes part = input.first(std::min(piece, input.size()));
        waiting.insert(waiting.end(), part.begin(), part.end());
        input = input.subspan(part.size());
    }
    if (talk.state() == Negotiation::State::ended) return;
    const nbd::Agreement& agreement = talk.agreement();
    GEMEL_ASSERT(agreement.exported != nullptr && agreement.exported->refusal().empty());
    GEMEL_ASSERT(agreement.structured || (!agreement.extended && agreement.contexts == 0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 3) return 0;
    const Bytes input(reinterpret_cast<const std::byte*>(data) + 3, size - 3);
    test::FixedExport one("a"), two("disk1");
    if ((data[0] & 1) != 0) one.reason = "secondary";
    two.read_only = (data[0] & 2) != 0;
    one.dirty_context = (data[0] & 4) != 0;
    std::vector<Export*> exports{&one};
    if ((data[0] & 8) != 0) exports.push_back(&two);
    const std::size_t piece = data[1] == 0 ? input.size() + 1 : data[1];
    if (data[2] % 2 == 0) {
        negotiate(with_magic(input), piece, exports);
    } else {
        negotiate(input, piece, exports);
    }
    return 0;
}
