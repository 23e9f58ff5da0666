// SPDX-License-Identifier: Apache-2.0
// Records are read and written through the page cache, 64 bytes at a time; the files are sparse
// where ids were never used. The file `state` holds the boot in which the index was last opened and
// whether it was closed: open in another boot means that records may have been lost.
#include "engine/store/object_index.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/checksum.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>
#include <utility>

namespace gemel {

namespace {

constexpr std::uint64_t kStateSeed = 0x67656D656C2D6978;  // "gemel-ix"
constexpr std::uint8_t kStateOpen = 1;                    // records may be in the page cache only
constexpr std::uint8_t kStateClosed = 2;                  // synced
constexpr std::size_t kStateSize = 8 + 16 + 1;

std::string hex_digits(Bytes bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::byte b : bytes) {
        const auto value = std::to_integer<unsigned>(b);
        text.push_back(kDigits[value >> 4]);
        text.push_back(kDigits[value & 15]);
    }
    return text;
}

std::string hex_big_endian(std::uint64_t value, std::size_t size) {
    std::array<std::byte, 8> bytes{};
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::byte>(value >> (8 * (size - 1 - i)));
    }
    return hex_digits(Bytes(bytes).first(size));
}

std::string file_name(std::uint32_t tag) { return hex_big_endian(tag, 3); }

// Makes the directory where it is missing and opens it.
Result<Fd> ensure_directory(Vfs& vfs, Fd parent, std::string_view name) noexcept {
    const Status made = vfs.make_directory(parent, name, 0700);
    if (!made.ok() && !made.is_errno(EEXIST)) return made;
    return vfs.open_at(parent, name, O_RDONLY | O_DIRECTORY, 0);
}

}  // namespace

std::string hex_name(ObjectId id) { return hex_big_endian(id.value, 8); }
std::string hex_name(const Uuid& id) { return hex_digits(std::as_bytes(std::span(id.bytes))); }

ObjectIndex::~ObjectIndex() { close_files(); }

void ObjectIndex::close_files() noexcept {
    for (const TagFile& entry : files_) vfs_.close(entry.file);
    files_.clear();
    for (CachedBlock& block : cache_) block.valid = false;
    if (state_file_.is_open()) vfs_.close(std::exchange(state_file_, Fd{}));
    if (directory_.is_open()) vfs_.close(std::exchange(directory_, Fd{}));
}

Status ObjectIndex::open(Fd directory, const Uuid& volume, const Uuid& boot) noexcept {
    close_files();
    volume_ = volume;
    boot_ = boot;
    last_put_ = {};
    may_lack_records_ = true;
    const Result<Fd> parent = ensure_directory(vfs_, directory, "index");
    if (!parent.ok()) return parent.status();
    ScopedFd scoped(vfs_, parent.value());
    const Result<Fd> own = ensure_directory(vfs_, parent.value(), hex_name(volume));
    if (!own.ok()) return own.status();
    directory_ = own.value();
    const Result<Fd> state = vfs_.open_at(directory_, "state", O_RDWR | O_CREAT, 0600);
    if (!state.ok()) return state.status();
    state_file_ = state.value();
    Uuid last_boot;
    const Result<std::uint8_t> last = read_state(last_boot);
    if (!last.ok()) return Status();  // new or torn: rebuild decides
    may_lack_records_ = last.value() != kStateClosed && last_boot != boot;
    if (may_lack_records_) return Status();
    GEMEL_TRY(write_state(kStateOpen));
    return for_each_file([this](std::uint32_t tag) { return give_back_leftovers(tag); });
}

// The place that was left alone when the last run ended, and what could not be given back because
// the disk was full. A file of many blocks is in use, and is not read through for one of them.
Status ObjectIndex::give_back_leftovers(std::uint32_t tag) noexcept {
    constexpr int kBlocksLookedAt = 16;
    std::uint64_t offset = 0;
    for (int looked_at = 0; looked_at < kBlocksLookedAt; ++looked_at) {
        const Result<Fd> file = file_of(tag, false);
        if (!file.ok()) {
            return file.status().code() == Code::not_found ? Status() : file.status();
        }
        const Result<std::uint64_t> data = vfs_.seek(file.value(), offset, SEEK_DATA);
        if (!data.ok() && looked_at != 0) {
            return data.status().is_errno(ENXIO) ? Status() : data.status();
        }
        // Of a file without a block too, so that it goes.
        const std::uint64_t block = data.ok() ? data.value() / kBlockSize : 0;
        GEMEL_TRY(give_back({tag, block}));
        offset = (block + 1) * kBlockSize;
    }
    return Status();
}

template <typename Visit>
Status ObjectIndex::for_each_file(Visit&& visit) noexcept {
    std::vector<DirectoryEntry> entries;
    for (std::uint64_t position = 0;;) {
        const std::size_t before = entries.size();
        GEMEL_TRY(vfs_.read_directory(directory_, position, 256, entries));
        if (entries.size() == before) break;
        position = entries.back().next;
    }
    for (const DirectoryEntry& entry : entries) {
        std::uint32_t tag = 0;
        const char* end = entry.name.data() + entry.name.size();
        const auto parsed = std::from_chars(entry.name.data(), end, tag, 16);
        if (parsed.ec != std::errc() || parsed.ptr != end || entry.name != file_name(tag)) continue;
        GEMEL_TRY(visit(tag));
    }
    return Status();
}

Status ObjectIndex::clear() noexcept {
    GEMEL_ASSERT(may_lack_records_);
    return for_each_file([this](std::uint32_t tag) {
        forget_file(tag);
        return vfs_.unlink(directory_, file_name(tag), false);
    });
}

Status ObjectIndex::distrust() noexcept {
    GEMEL_ASSERT(directory_.is_open());
    may_lack_records_ = true;
    // Durably of no boot: whoever opens it next finds that it is another one's.
    const Uuid boot = std::exchange(boot_, Uuid());
    const Status noted = write_state(kStateOpen);
    boot_ = boot;
    return noted;
}

Status ObjectIndex::mark_complete() noexcept {
    GEMEL_ASSERT(directory_.is_open());
    if (!may_lack_records_) return Status();
    // The records first: the note claims that they are there.
    GEMEL_TRY(vfs_.sync_file_system(directory_));
    GEMEL_TRY(write_state(kStateOpen));
    may_lack_records_ = false;
    return Status();
}

void ObjectIndex::close() noexcept {
    if (directory_.is_open()) {
        // Else the next open does it.
        const Status given = give_back(std::exchange(last_put_, {}));
        static_cast<void>(given);
    }
    if (directory_.is_open() && !may_lack_records_ && vfs_.sync_file_system(directory_).ok()) {
        // Not written: the next open finds the index open and, in another boot, rebuilds it.
        const Status written = write_state(kStateClosed);
        static_cast<void>(written);
    }
    close_files();
}

Status ObjectIndex::write_state(std::uint8_t state) noexcept {
    ByteBuffer body;
    ByteWriter(body).put(boot_);
    ByteWriter(body).put(state);
    ByteBuffer buffer;
    ByteWriter(buffer).put(checksum64(body, kStateSeed));
    ByteWriter(buffer).bytes(body);
    GEMEL_ASSERT(buffer.size() == kStateSize);
    const Result<std::size_t> written = vfs_.pwrite(state_file_, buffer, 0);
    if (!written.ok()) return written.status();
    if (written.value() != kStateSize) return Status::from_errno(ENOSPC);
    return vfs_.sync(state_file_, false);
}

Result<std::uint8_t> ObjectIndex::read_state(Uuid& boot) noexcept {
    std::array<std::byte, kStateSize> buffer;
    const Result<std::size_t> size = vfs_.pread(state_file_, buffer, 0);
    if (!size.ok()) return size.status();
    if (size.value() != kStateSize) return Code::not_found;
    ByteReader reader(buffer);
    const auto checksum = reader.get<std::uint64_t>();
    if (checksum != checksum64(Bytes(buffer).subspan(8), kStateSeed)) return Code::corrupt;
    boot = reader.uuid();
    return reader.get<std::uint8_t>();
}

Result<Fd> ObjectIndex::file_of(std::uint32_t tag, bool create) noexcept {
    for (TagFile& entry : files_) {
        if (entry.tag != tag) continue;
        entry.last_use = ++use_count_;
        return entry.file;
    }
    const int flags = O_RDWR | O_NOATIME | (create ? O_CREAT : 0);
    const Result<Fd> file = vfs_.open_at(directory_, file_name(tag), flags, 0600);
    if (!file.ok()) {
        if (file.status().is_errno(ENOENT)) return Code::not_found;
        return file.status();
    }
    if (files_.size() >= kOpenFilesMax) {
        const auto oldest = std::min_element(
            files_.begin(), files_.end(),
            [](const TagFile& a, const TagFile& b) { return a.last_use < b.last_use; });
        vfs_.close(oldest->file);
        files_.erase(oldest);
    }
    files_.push_back({tag, file.value(), ++use_count_});
    return file.value();
}

// A record copied to another slot or from another volume's index fails its checksum.
std::uint64_t ObjectIndex::seed_of(ObjectId id) const noexcept {
    return checksum64(std::as_bytes(std::span(volume_.bytes)), id.value);
}

ObjectIndex::CachedBlock& ObjectIndex::cached(const Place& place) noexcept {
    return cache_[place.block % kCachedBlocksMax];
}

// Lookups follow the order of ids, in which objects were made: most find their block here.
Result<Bytes> ObjectIndex::read_record(Fd file, ObjectId id) noexcept {
    const Place place = place_of(id);
    CachedBlock& block = cached(place);
    if (!block.valid || block.place != place) {
        block.valid = false;
        const Result<std::size_t> size = vfs_.pread(file, block.bytes, place.block * kBlockSize);
        if (!size.ok()) return size.status();
        std::fill(block.bytes.begin() + static_cast<std::ptrdiff_t>(size.value()),
                  block.bytes.end(), std::byte{0});
        block.place = place;
        block.valid = true;
    }
    return Bytes(block.bytes).subspan(offset_in_block(id), kRecordSize);
}

Status ObjectIndex::write_record(Fd file, ObjectId id, Bytes record) noexcept {
    CachedBlock& block = cached(place_of(id));
    const bool is_cached = block.valid && block.place == place_of(id);
    if (is_cached) block.valid = false;  // until it is known what stands there
    const Result<std::size_t> written = vfs_.pwrite(file, record, id.sequence() * kRecordSize);
    if (!written.ok()) return written.status();
    if (written.value() != kRecordSize) return Status::from_errno(ENOSPC);
    if (!is_cached) return Status();
    std::copy(record.begin(), record.end(),
              block.bytes.begin() + static_cast<std::ptrdiff_t>(offset_in_block(id)));
    block.valid = true;
    return Status();
}

Result<ObjectIndex::Record> ObjectIndex::find(ObjectId id) noexcept {
    const Result<Fd> file = file_of(id.tag(), false);
    if (!file.ok()) return file.status();
    const Result<Bytes> buffer = read_record(file.value(), id);
    if (!buffer.ok()) return buffer.status();
    ByteReader reader(buffer.value());
    const auto checksum = reader.get<std::uint64_t>();
    if (checksum != checksum64(buffer->subspan(8), seed_of(id))) {
        const bool is_blank = std::all_of(buffer->begin(), buffer->end(),
                                          [](std::byte byte) { return byte == std::byte{0}; });
        return is_blank ? Code::not_found : Code::corrupt;
    }
    Record record;
    record.handle.type = reader.get<std::int32_t>();
    record.type = reader.get<std::uint32_t>();
    record.handle.size = reader.get<std::uint8_t>();
    if (record.handle.size > FileHandle::kSizeMax) return Code::corrupt;
    const Bytes bytes = reader.bytes(record.handle.size);
    if (!bytes.empty()) std::memcpy(record.handle.bytes.data(), bytes.data(), bytes.size());
    return record;
}

bool ObjectIndex::lacks(ObjectId id) noexcept {
    const Result<Fd> file = file_of(id.tag(), false);
    if (!file.ok()) return file.status().code() == Code::not_found;
    const Result<Bytes> record = read_record(file.value(), id);
    return record.ok() && std::all_of(record->begin(), record->end(),
                                      [](std::byte byte) { return byte == std::byte{0}; });
}

Status ObjectIndex::put(ObjectId id, const Record& record) noexcept {
    GEMEL_ASSERT(!id.is_none());
    GEMEL_ASSERT(record.handle.size <= FileHandle::kSizeMax);
    const Result<Fd> file = file_of(id.tag(), true);
    if (!file.ok()) return file.status();
    ByteBuffer body;
    body.reserve(kRecordSize);
    ByteWriter writer(body);
    writer.put(record.handle.type);
    writer.put(record.type);
    writer.put(record.handle.size);
    writer.bytes(std::as_bytes(std::span(record.handle.bytes).first(record.handle.size)));
    body.resize(kRecordSize - sizeof(std::uint64_t));
    ByteBuffer buffer;
    buffer.reserve(kRecordSize);
    ByteWriter(buffer).put(checksum64(body, seed_of(id)));
    ByteWriter(buffer).bytes(body);
    GEMEL_TRY(write_record(file.value(), id, buffer));
    const Place before = std::exchange(last_put_, place_of(id));
    return before == last_put_ ? Status() : give_back(before);
}

Status ObjectIndex::erase(ObjectId id) noexcept {
    const Result<Fd> file = file_of(id.tag(), false);
    if (!file.ok()) {
        return file.status().code() == Code::not_found ? Status() : file.status();
    }
    GEMEL_TRY(write_record(file.value(), id, std::array<std::byte, kRecordSize>{}));
    return place_of(id) == last_put_ ? Status() : give_back(place_of(id));
}

void ObjectIndex::forget_file(std::uint32_t tag) noexcept {
    const auto found = std::find_if(files_.begin(), files_.end(),
                                    [tag](const TagFile& entry) { return entry.tag == tag; });
    for (CachedBlock& block : cache_) {
        if (block.place.tag == tag) block.valid = false;
    }
    if (found == files_.end()) return;
    vfs_.close(found->file);
    files_.erase(found);
}

Result<bool> ObjectIndex::is_empty(Fd file, const Place& place) noexcept {
    std::array<std::byte, kBlockSize> buffer;
    const Result<std::size_t> size = vfs_.pread(file, buffer, place.block * kBlockSize);
    if (!size.ok()) return size.status();
    const Bytes records = Bytes(buffer).first(size.value());
    return std::all_of(records.begin(), records.end(),
                       [](std::byte byte) { return byte == std::byte{0}; });
}

Status ObjectIndex::give_back(const Place& place) noexcept {
    const Result<Fd> file = file_of(place.tag, false);
    if (!file.ok()) {
        return file.status().code() == Code::not_found ? Status() : file.status();
    }
    const Result<bool> empty = is_empty(file.value(), place);
    if (!empty.ok()) return empty.status();
    if (!empty.value()) return Status();
    const Status punched = vfs_.allocate(file.value(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         place.block * kBlockSize, kBlockSize);
    if (!punched.ok()) {
        const bool cannot = punched.is_errno(EOPNOTSUPP) || punched.is_errno(ENOSYS) ||
                            punched.is_errno(ENOSPC) || punched.is_errno(EDQUOT);
        return cannot ? Status() : punched;
    }
    if (place.tag == last_put_.tag) return Status();
    // Not by the count of its blocks: a file system may give them only when it writes them.
    if (!vfs_.seek(file.value(), 0, SEEK_DATA).status().is_errno(ENXIO)) return Status();
    forget_file(place.tag);
    return vfs_.unlink(directory_, file_name(place.tag), false);
}

}  // namespace gemel
