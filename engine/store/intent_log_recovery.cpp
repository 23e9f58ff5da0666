// SPDX-License-Identifier: Apache-2.0
// Which damage is harmless: an unfinished snapshot (the other file is still complete), and blocks
// behind which nothing was ever durable. Any other is reported: a lost mark is a lost difference.
#include "engine/store/intent_log_recovery.hpp"

#include "engine/io/whole_transfer.hpp"
#include "engine/store/intent_log_format.hpp"

#include <algorithm>
#include <fcntl.h>
#include <string>
#include <vector>

namespace gemel {

namespace {

constexpr std::array<std::string_view, 2> kFileNames{"intents.0", "intents.1"};
constexpr std::string_view kNewFileName = "intents.new";

// What one block of a file says of itself; generation 0: it is damaged or was never written.
struct BlockSummary {
    std::uint64_t generation = 0;
    std::uint32_t batch_first = 0, snapshot_count = 0;
};

enum class FileState : std::uint8_t {
    empty,     // no intact block
    unsealed,  // its snapshot is not whole and nothing was appended to it: never became current
    usable,
    damaged,  // something that was durable is gone
};

struct FileScan {
    std::vector<BlockSummary> blocks;
    FileState state = FileState::empty;
    std::uint64_t generation = 0;      // the highest in the file
    std::uint32_t snapshot_count = 0;  // of that generation
    std::uint32_t end = 0;             // usable: first block behind the intact ones
    std::uint32_t damaged_block = 0;   // damaged: which
};

// A block that cannot be read, or only in part, counts as damaged: its checksum will not match.
Status read_block(Vfs& vfs, Fd file, std::uint32_t block, MutableBytes raw) {
    std::fill(raw.begin(), raw.end(), std::byte{0});
    const std::uint64_t offset = std::uint64_t{block} * kIntentBlockSize;
    const Result<std::size_t> size = read_fully(vfs, file, raw, offset);
    return size.ok() || size.status().is_errno(EIO) ? Status() : size.status();
}

// Decides the state of a file from the summaries of its blocks.
void judge(FileScan& scan) {
    for (const BlockSummary& block : scan.blocks) {
        if (block.generation > scan.generation) {
            scan.generation = block.generation;
            scan.snapshot_count = block.snapshot_count;
        }
    }
    if (scan.generation == 0) return;

    std::uint32_t end = 0;
    while (end < scan.blocks.size() && scan.blocks[end].generation == scan.generation) ++end;
    // A batch is written only after the one before it has been synced. So an intact block of a
    // batch that begins behind `end` proves that the block at `end` was durable once.
    for (std::size_t i = end; i < scan.blocks.size(); ++i) {
        if (scan.blocks[i].generation == scan.generation && scan.blocks[i].batch_first > end) {
            scan.state = FileState::damaged;
            scan.damaged_block = end;
            return;
        }
    }
    scan.end = end;
    scan.state = end < scan.snapshot_count ? FileState::unsealed : FileState::usable;
}

Result<FileScan> scan_file(Vfs& vfs, Fd file, const Uuid& owner) {
    const auto stat = vfs.stat(file);
    if (!stat.ok()) return stat.status();
    FileScan scan;
    scan.blocks.resize(static_cast<std::size_t>(stat.value().size / kIntentBlockSize));
    ByteBuffer raw(kIntentBlockSize);
    for (std::uint32_t i = 0; i < scan.blocks.size(); ++i) {
        GEMEL_TRY(read_block(vfs, file, i, raw));
        const IntentBlockCheck check = check_intent_block(raw, owner, i);
        if (check.state == IntentBlockState::foreign) return Code::foreign;
        if (check.state != IntentBlockState::intact) continue;
        const IntentBlockHeader& header = check.header;
        scan.blocks[i] = {header.generation, header.batch_first, header.snapshot_count};
    }
    judge(scan);
    return scan;
}

// Applies the file's blocks in order. Of a torn batch only a beginning is there: all sets stand
// before all clears, so no clear counts without the sets that make it safe.
Status replay(Vfs& vfs, Fd file, const FileScan& scan, IntentTable& keys) {
    ByteBuffer raw(kIntentBlockSize);
    for (std::uint32_t i = 0; i < scan.end; ++i) {
        GEMEL_TRY(read_block(vfs, file, i, raw));
        const auto count = ByteReader(Bytes(raw).subspan(offsetof(IntentBlockHeader, entry_count)))
                               .get<std::uint32_t>();
        for (std::size_t n = 0; n < std::min<std::size_t>(count, kIntentEntriesPerBlock); ++n) {
            const IntentEntry entry = intent_entry(raw, n);
            const bool known = keys.find(entry.key) != nullptr;
            if (entry.kind == IntentEntryKind::set && !known) {
                keys.insert(entry.key, IntentState::durable);
            } else if (entry.kind == IntentEntryKind::clear && known) {
                keys.erase(entry.key);
            }
        }
    }
    return {};
}

// Makes the keys the durable content of the file, as the given generation.
Status write_snapshot(Vfs& vfs, Fd file, const IntentTable& keys, const IntentBatchPlace& place) {
    std::vector<IntentEntry> entries;
    entries.reserve(keys.size());
    keys.for_each([&](const IntentSlot& slot) { entries.push_back({slot.key()}); });
    ByteBuffer blocks;
    encode_intent_batch(place, entries, blocks);
    GEMEL_TRY(write_fully(vfs, file, blocks, 0));
    return vfs.sync(file, false);
}

Result<ScopedFd> make_file(Vfs& vfs, Fd directory, std::string_view name) {
    const auto opened = vfs.open_at(directory, name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!opened.ok()) return opened.status();
    ScopedFd file(vfs, opened.value());
    const ByteBuffer zeros(kIntentFileBlocksMin * kIntentBlockSize);
    GEMEL_TRY(write_fully(vfs, file.get(), zeros, 0));
    return file;
}

// intents.0 appears last, by a rename, so where it exists the log was complete once.
Result<OpenIntentFiles> make_log(Vfs& vfs, Fd directory, const Uuid& owner) {
    OpenIntentFiles made;
    made.generation = made.block_count = made.snapshot_count = 1;
    auto second = make_file(vfs, directory, kFileNames[1]);
    if (!second.ok()) return second.status();
    made.files[1] = std::move(second).value();
    GEMEL_TRY(vfs.sync(made.files[1].get(), false));
    auto first = make_file(vfs, directory, kNewFileName);
    if (!first.ok()) return first.status();
    made.files[0] = std::move(first).value();
    GEMEL_TRY(write_snapshot(vfs, made.files[0].get(), made.keys, {owner, 1, 0, 0}));
    GEMEL_TRY(vfs.rename(directory, kNewFileName, directory, kFileNames[0], 0));
    GEMEL_TRY(vfs.sync(directory, false));
    return made;
}

Status report_corrupt(LogSink& log, std::string_view what) {
    log.log(LogLevel::error, "the intent log is damaged: " + std::string(what));
    return Status(Code::corrupt);
}

// The file whose content counts. An unsealed newer file is what a crash during a switch leaves; it
// holds nothing that the other file lacks, for what is touched meanwhile is only appended later.
Result<std::size_t> choose(const std::array<FileScan, 2>& scans, LogSink& log) {
    const std::size_t newest = scans[1].generation > scans[0].generation ? 1 : 0;
    for (const std::size_t index : {newest, 1 - newest}) {
        const FileScan& scan = scans[index];
        if (scan.state == FileState::usable) return index;
        if (scan.state == FileState::damaged) {
            return report_corrupt(log, "block " + std::to_string(scan.damaged_block) + " of " +
                                           std::string(kFileNames[index]) +
                                           " is not intact, but later ones are");
        }
    }
    return report_corrupt(log, "neither file has an intact snapshot");
}

Result<std::array<FileScan, 2>> open_and_scan(Vfs& vfs, Fd directory, const Uuid& owner,
                                              OpenIntentFiles& opened) {
    std::array<FileScan, 2> scans;
    for (std::size_t index = 0; index < 2; ++index) {
        const auto file = vfs.open_at(directory, kFileNames[index], O_RDWR, 0);
        if (!file.ok()) return file.status();
        opened.files[index] = ScopedFd(vfs, file.value());
        auto scan = scan_file(vfs, file.value(), owner);
        if (!scan.ok()) return scan.status();
        scans[index] = std::move(scan).value();
    }
    return scans;
}

// True when there is no log yet, or one whose making was interrupted.
Result<bool> is_absent(Vfs& vfs, Fd directory, const Uuid& owner) {
    const auto first = vfs.stat_at(directory, kFileNames[0]);
    if (first.ok()) return false;
    if (!first.status().is_errno(ENOENT)) return first.status();
    const auto second = vfs.open_at(directory, kFileNames[1], O_RDWR, 0);
    if (!second.ok() && second.status().is_errno(ENOENT)) return true;
    if (!second.ok()) return second.status();
    const ScopedFd file(vfs, second.value());
    const auto scan = scan_file(vfs, file.get(), owner);
    if (!scan.ok()) return scan.status();
    return scan.value().state == FileState::empty;
}

}  // namespace

Result<OpenIntentFiles> open_intent_files(Vfs& vfs, LogSink& log, Fd directory,
                                          const Uuid& owner) noexcept {
    const auto absent = is_absent(vfs, directory, owner);
    if (!absent.ok()) return absent.status();
    if (absent.value()) return make_log(vfs, directory, owner);

    OpenIntentFiles opened;
    const auto scanned = open_and_scan(vfs, directory, owner, opened);
    if (!scanned.ok() && scanned.status().is_errno(ENOENT)) {
        return report_corrupt(log, "one of its two files is missing");
    }
    if (!scanned.ok()) return scanned.status();
    const std::array<FileScan, 2>& scans = scanned.value();
    const auto chosen = choose(scans, log);
    if (!chosen.ok()) return chosen.status();
    const std::size_t source = chosen.value();
    GEMEL_TRY(replay(vfs, opened.files[source].get(), scans[source], opened.keys));

    opened.current = 1 - source;
    opened.generation = std::max(scans[0].generation, scans[1].generation) + 1;
    opened.snapshot_count = opened.block_count = intent_block_count(opened.keys.size());
    GEMEL_TRY(write_snapshot(vfs, opened.files[opened.current].get(), opened.keys,
                             {owner, opened.generation, 0, 0}));
    return opened;
}

}  // namespace gemel
