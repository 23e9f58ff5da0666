// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/state_damage.hpp"

#include "engine/store/intent_log_format.hpp"
#include "engine/store/superblock.hpp"

#include <algorithm>
#include <cstring>
#include <sys/stat.h>
#include <vector>

namespace gemel::sim {

namespace {

constexpr std::size_t kSlotCopies = 32 * kKiB;  // from one copy of a slot to the next
constexpr std::size_t kSlotHeader = 32;
constexpr std::size_t kRecordSize = 64;

struct Piece {
    std::string what;
    Inode* file = nullptr;
    std::size_t offset = 0, size = 0;
};

template <typename T>
T number_at(const ByteBuffer& bytes, std::size_t offset) {
    T number{};
    std::memcpy(&number, bytes.data() + offset, sizeof number);
    return number;
}

class Damage {
   public:
    Damage(FileSystem& disk, Prng& prng) : disk_(disk), prng_(prng) {}

    std::string run(std::string_view directory) {
        Inode* at = &disk_.root();
        while (!directory.empty()) {
            const std::string_view name = directory.substr(0, directory.find('/'));
            directory.remove_prefix(std::min(directory.size(), name.size() + 1));
            if (name.empty()) continue;
            const Result<Inode*> next = disk_.lookup(*at, name);
            if (!next.ok()) return {};
            at = next.value();
        }
        collect(*at, false);
        std::vector<Piece>* const kinds[] = {&slots_, &intents_, &records_, &others_};
        std::vector<Piece>& pieces = *kinds[prng_.below(std::size(kinds))];
        if (pieces.empty()) return {};
        // All copies of the superblock, or one piece.
        const bool all = &pieces == &slots_ && prng_.one_in(2);
        const std::size_t first = all ? 0 : prng_.below(pieces.size());
        const std::size_t last = all ? pieces.size() - 1 : first;
        for (std::size_t i = first; i <= last; ++i) flip(pieces[i]);
        return all ? "all copies of the superblock" : pieces[first].what;
    }

   private:
    void collect(Inode& directory, bool in_index) {
        std::vector<DirectoryEntry> entries;
        for (std::uint64_t position = 0;;) {
            const std::size_t before = entries.size();
            disk_.list(directory, position, 1000, entries);
            if (entries.size() == before) break;
            position = entries.back().next;
        }
        std::sort(entries.begin(), entries.end(),
                  [](const auto& a, const auto& b) { return a.name < b.name; });
        for (const DirectoryEntry& entry : entries) {
            Inode& inode = *disk_.lookup(directory, entry.name).value();
            if (S_ISDIR(inode.meta.mode)) {
                collect(inode, in_index || entry.name == "index");
            } else if (entry.name == "superblock") {
                add_slots(inode);
            } else if (entry.name.starts_with("intents.")) {
                add_intents(inode, entry.name);
            } else if (in_index && entry.name != "state") {
                add_records(inode);
            } else if (inode.data.size != 0) {
                others_.push_back({entry.name, &inode, 0, inode.data.size});
            }
        }
    }

    ByteBuffer content(Inode& file) {
        ByteBuffer bytes(file.data.size);
        const Result<std::size_t> got = disk_.read(file, bytes, 0);
        GEMEL_ASSERT(got.ok());
        bytes.resize(got.value());
        return bytes;
    }

    void add_slots(Inode& file) {
        const ByteBuffer bytes = content(file);
        for (std::size_t at = 0; at + kSlotHeader <= bytes.size(); at += kSlotCopies) {
            const std::size_t size = kSlotHeader + number_at<std::uint32_t>(bytes, at + 12);
            if (at + size > bytes.size() || size == kSlotHeader) continue;
            slots_.push_back({"a copy of a slot of the superblock", &file, at, size});
        }
    }

    void add_intents(Inode& file, const std::string& name) {
        const ByteBuffer bytes = content(file);
        const auto field = [&](std::size_t block, std::size_t offset) {
            return number_at<std::uint32_t>(bytes, block * kIntentBlockSize + offset);
        };
        const auto generation = [&](std::size_t block) {
            return number_at<std::uint64_t>(
                bytes, block * kIntentBlockSize + offsetof(IntentBlockHeader, generation));
        };
        const std::size_t blocks = bytes.size() / kIntentBlockSize;
        std::size_t used = 0;
        while (used < blocks && generation(used) != 0 && generation(used) == generation(0)) ++used;
        if (used == 0) return;
        const std::size_t last = field(used - 1, offsetof(IntentBlockHeader, batch_first));
        for (std::size_t block = 0; block < std::min(last, used); ++block) {
            intents_.push_back({name + ", block " + std::to_string(block), &file,
                                block * kIntentBlockSize, kIntentBlockSize});
        }
    }

    void add_records(Inode& file) {
        const ByteBuffer bytes = content(file);
        for (std::size_t at = 0; at + kRecordSize <= bytes.size(); at += kRecordSize) {
            if (number_at<std::uint64_t>(bytes, at) == 0) continue;
            records_.push_back({"a record of the index", &file, at, kRecordSize});
        }
    }

    void flip(const Piece& piece) {
        const std::uint64_t count = prng_.between(1, 4);
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::size_t offset = piece.offset + prng_.below(piece.size);
            std::byte byte{};
            GEMEL_ASSERT(disk_.read(*piece.file, {&byte, 1}, offset).ok());
            byte ^= std::byte{1} << prng_.below(8);
            GEMEL_ASSERT(
                disk_.write(*piece.file, {&byte, 1}, offset, piece.file->data.modified).ok());
        }
        disk_.sync(*piece.file);
    }

    FileSystem& disk_;
    Prng& prng_;
    std::vector<Piece> slots_, intents_, records_, others_;
};

}  // namespace

std::string damage_state(FileSystem& disk, std::string_view directory, Prng& prng) {
    return Damage(disk, prng).run(directory);
}

}  // namespace gemel::sim
