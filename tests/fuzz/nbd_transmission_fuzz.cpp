// SPDX-License-Identifier: Apache-2.0
// Goal: no requests of a client crash the NBD server, reach the export unchecked (MemoryExport
// asserts what export.hpp promises it), stay without the one answer that they are owed, or leave a
// buffer behind. Method: a server over memory and a client in one simulated world; the first byte
// chooses the form of replies and whether the rest are requests, described in few bytes each, or
// bytes as they are. The second is the world's seed, which splits the stream.
#include "tests/unit/nbd/session_world.hpp"

#include <algorithm>
#include <cstdint>

namespace {

using namespace gemel;
using test::Form;
using test::NbdClient;

constexpr std::uint64_t kBlock = 512;

// One request from the input: command, flags, place, length, perhaps with a payload of that length.
void send_one(NbdClient& client, ByteReader& reader, Form form) {
    const auto command = static_cast<nbd::Command>(reader.get<std::uint8_t>() % 10);
    unsigned flags = reader.get<std::uint8_t>();
    const std::uint64_t offset = reader.get<std::uint16_t>() * kBlock / 2;
    std::uint64_t length = reader.get<std::uint8_t>() * kBlock / 2;
    // A whole number of blocks before the end of all numbers, where sums wrap.
    if (reader.get<std::uint8_t>() % 16 == 0) length = 0 - length;
    const bool has_payload = form == Form::extended ? (flags & nbd::kPayloadLength) != 0
                                                    : command == nbd::Command::write;
    std::string payload;
    if (has_payload) {
        length %= 200'000;
        payload.assign(length, 'p');
        if (command == nbd::Command::block_status && length >= 12) {
            payload = NbdClient::number(length) + NbdClient::number(std::uint32_t{1});
            payload.resize(length = 12 + length % 8);
        }
    }
    client.request(command, offset, length, flags, payload);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2 || size > 4096) return 0;
    test::NbdSessionWorld session(data[1]);
    NbdLimits limits;
    limits.connection.requests_max = 1 + data[0] / 16;
    limits.connection.bytes_max = 65536;
    if (!session.serve(limits).ok()) return 0;
    const auto form = static_cast<Form>(data[0] % 3);
    auto client = session.connect(form);
    GEMEL_ASSERT(client != nullptr);
    const Bytes input(reinterpret_cast<const std::byte*>(data) + 2, size - 2);
    if (data[0] % 16 < 12) {
        std::size_t sent = 0;
        for (ByteReader reader(input); reader.remaining() >= 6; ++sent) {
            send_one(*client, reader, form);
        }
        session.run_until([&] { return client->is_over() || client->answered() == sent; });
        GEMEL_ASSERT(client->is_over() || client->answered() == sent);
        GEMEL_ASSERT(client->fault().empty());
    } else {
        client->send(as_text(input));
        session.world.run_for(Duration::milliseconds(20));
    }
    client.reset();
    GEMEL_ASSERT(session.end_service());
    return 0;
}
