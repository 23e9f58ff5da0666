// SPDX-License-Identifier: Apache-2.0
// Goal: no content of the state directory crashes who opens it. Method: the input overwrites parts
// of a block of the intent log or a slot of the superblock, whose checksum is then made right.
#include "engine/base/checksum.hpp"
#include "engine/store/intent_log_format.hpp"
#include "engine/store/superblock.hpp"
#include "tests/unit/store/fake_disk.hpp"

#include <cstdint>
#include <cstring>

namespace {

using namespace gemel;

// Bytes of the input replace the block's, from an offset that they name; then it is sealed.
void open_log(Bytes input) {
    FakeLoop loop;
    QuietLog log;
    const IntentEntry entries[] = {{{{100}, 0, 0}}, {{{5000}, IntentKey::kIdRange, 0}}};
    ByteBuffer blocks;
    encode_intent_batch({Uuid{}, 1, 0, 0}, entries, blocks);
    encode_intent_batch({Uuid{}, 1, 1, 1}, entries, blocks);
    ByteReader reader(input);
    const std::size_t block = reader.get<std::uint8_t>() % 2;
    const std::size_t at = reader.get<std::uint16_t>() % kIntentBlockSize;
    const Bytes change = reader.bytes(std::min(reader.remaining(), kIntentBlockSize - at));
    std::byte* raw = blocks.data() + block * kIntentBlockSize;
    if (!change.empty()) std::memcpy(raw + at, change.data(), change.size());
    std::uint64_t magic = 0;
    std::memcpy(&magic, raw, sizeof magic);
    const std::uint64_t checksum = checksum64({raw + 16, kIntentBlockSize - 16}, magic ^ block);
    std::memcpy(raw + 8, &checksum, sizeof checksum);

    loop.disk.files["intents.0"] = blocks;
    loop.disk.files["intents.1"] = {};
    auto opened = IntentLog::open(loop, log, FakeVfs::kDirectory, Uuid{});
    if (!opened.ok()) return;
    const IntentKey key{{100}, 7, 0};
    opened.value()->touch({&key, 1});
    opened.value()->commit([](Status) {});
    loop.run();
    GEMEL_ASSERT(opened.value()->covers(key));
}

// The input is the payload of the newest slot.
void read_superblock(Bytes input) {
    FakeVfs disk;
    GEMEL_ASSERT(SuperblockFile::write(disk, FakeVfs::kDirectory, {}).ok());
    ByteBuffer& raw = disk.files["superblock"];
    input = input.first(std::min<std::size_t>(input.size(), 60'000));
    const auto size = static_cast<std::uint32_t>(input.size());
    std::memcpy(raw.data() + 12, &size, sizeof size);
    if (size > 0) std::memcpy(raw.data() + 32, input.data(), size);
    std::uint64_t magic = 0;
    std::memcpy(&magic, raw.data(), sizeof magic);
    const std::uint64_t checksum = checksum64(input, checksum64(Bytes(raw).first(24), magic));
    std::memcpy(raw.data() + 24, &checksum, sizeof checksum);
    const auto result = SuperblockFile::read(disk, FakeVfs::kDirectory);
    if (!result.ok()) return;
    const Status status = SuperblockFile::write(disk, FakeVfs::kDirectory, result.value());
    GEMEL_ASSERT(status.ok());
    GEMEL_ASSERT(SuperblockFile::read(disk, FakeVfs::kDirectory).value() == result.value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const Bytes input(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
    if (data[0] % 2 == 0) {
        open_log(input);
    } else {
        read_superblock(input);
    }
    return 0;
}
