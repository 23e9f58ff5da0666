// SPDX-License-Identifier: Apache-2.0
#include "resync/before_journal.hpp"

#include "engine/base/checksum.hpp"
#include "engine/base/probe.hpp"
#include "engine/io/late_release.hpp"
#include "engine/io/whole_transfer.hpp"
#include "engine/store/object_index.hpp"

#include <fcntl.h>
#include <string>
#include <utility>
#include <vector>

namespace gemel {

namespace {

constexpr std::uint64_t kMagic = 0x3165'7266'626C'6D67;  // "gmlbfre1" in file order
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderSize = 8 + 4 + 16 + 8;
constexpr std::string_view kJournalName = "journal";
constexpr std::size_t kBatch = 256;

ByteBuffer header_of(const Uuid& volume) {
    ByteBuffer header;
    ByteWriter out(header);
    out.put(kMagic);
    out.put(kVersion);
    out.put(volume);
    out.put(checksum64(header, kMagic));
    return header;
}

}  // namespace

Status BeforeJournal::invalidate(Vfs& vfs, Fd directory) noexcept {
    const Status removed = vfs.unlink(directory, kJournalName, false);
    if (removed.is_errno(ENOENT)) return Status();
    return removed.ok() ? vfs.sync(directory, false) : removed;
}

Result<bool> BeforeJournal::remove_clones(Vfs& vfs, Fd directory, std::size_t count_max) noexcept {
    std::vector<DirectoryEntry> entries;
    GEMEL_TRY(vfs.read_directory(directory, 0, count_max + 1, entries));
    std::size_t removed = 0;
    for (const DirectoryEntry& entry : entries) {
        if (entry.name == kJournalName) continue;
        if (removed == count_max) return true;
        GEMEL_TRY(unlink_with_late_release(vfs, directory, entry.name));
        ++removed;
    }
    return removed > 0 && entries.size() > count_max;
}

Result<BeforeJournal> BeforeJournal::make(Vfs& vfs, ScopedFd directory,
                                          const Uuid& volume) noexcept {
    GEMEL_TRY(invalidate(vfs, directory.get()));
    for (bool more = true; more;) {
        const Result<bool> removed = remove_clones(vfs, directory.get(), kBatch);
        if (!removed.ok()) return removed.status();
        more = removed.value();
    }
    const Result<Fd> made =
        vfs.open_at(directory.get(), kJournalName, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!made.ok()) return made.status();
    BeforeJournal journal(vfs, std::move(directory), ScopedFd(vfs, made.value()));
    GEMEL_TRY(write_fully(vfs, made.value(), header_of(volume), 0));
    GEMEL_TRY(vfs.sync(made.value(), false));
    GEMEL_TRY(vfs.sync(journal.directory_.get(), false));
    journal.size_ = kHeaderSize;
    return journal;
}

Result<BeforeJournal> BeforeJournal::open(Vfs& vfs, ScopedFd directory,
                                          const Uuid& volume) noexcept {
    const Result<Fd> opened = vfs.open_at(directory.get(), kJournalName, O_RDWR, 0);
    if (!opened.ok() && opened.status().is_errno(ENOENT)) return Status(Code::not_found);
    if (!opened.ok()) return opened.status();
    BeforeJournal journal(vfs, std::move(directory), ScopedFd(vfs, opened.value()));
    ByteBuffer header(kHeaderSize);
    const Result<std::size_t> got = read_fully(vfs, opened.value(), header, 0);
    if (!got.ok()) return got.status();
    if (got.value() != kHeaderSize) return Status(Code::corrupt);
    ByteReader in(header);
    const auto magic = in.get<std::uint64_t>();
    const auto version = in.get<std::uint32_t>();
    const Uuid id = in.uuid();
    if (magic != kMagic || version != kVersion || header != header_of(id)) {
        return Status(Code::corrupt);
    }
    if (id != volume) return Status(Code::not_found);
    journal.size_ = kHeaderSize;
    // Appended to behind the last whole record.
    GEMEL_TRY(journal.read([](Bytes, Bytes) { return Status(); }, [](ObjectId) {}));
    return journal;
}

Status BeforeJournal::probe_clones() noexcept {
    const Result<Fd> made =
        vfs_->open_at(directory_.get(), "probe", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!made.ok()) return made.status();
    const ScopedFd probe(*vfs_, made.value());
    const Status cloned = vfs_->clone(file_.get(), probe.get());
    const Status removed = vfs_->unlink(directory_.get(), "probe", false);
    return cloned.ok() ? removed : cloned;
}

Status BeforeJournal::append(Bytes attributes, Bytes listing, ObjectId object,
                             Fd content) noexcept {
    if (content.is_open()) {
        const Result<Fd> made =
            vfs_->open_at(directory_.get(), hex_name(object), O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (!made.ok()) return made.status();
        const ScopedFd clone(*vfs_, made.value());
        GEMEL_TRY(vfs_->clone(content, clone.get()));
        // Of its own: Btrfs makes one file durable without another that was made before it.
        GEMEL_TRY(vfs_->sync(clone.get(), false));
        GEMEL_TRY(vfs_->sync(directory_.get(), false));
    }
    return append_record(attributes, listing);
}

Status BeforeJournal::append_made(ObjectId directory) noexcept {
    ByteBuffer id;
    ByteWriter(id).put(directory);
    return append_record({}, id);
}

Status BeforeJournal::append_record(Bytes first, Bytes second) noexcept {
    ByteBuffer record;
    ByteWriter out(record);
    out.put(static_cast<std::uint32_t>(first.size()));
    out.put(static_cast<std::uint32_t>(second.size()));
    out.bytes(first);
    out.bytes(second);
    out.put(checksum64(record, kMagic));
    GEMEL_TRY(write_fully(*vfs_, file_.get(), record, size_));
    GEMEL_TRY(vfs_->sync(file_.get(), true));
    size_ += record.size();
    return Status();
}

Status BeforeJournal::read(const Saved& saved, const Made& made) noexcept {
    const Result<FileStat> stat = vfs_->stat(file_.get());
    if (!stat.ok()) return stat.status();
    std::uint64_t position = kHeaderSize;
    ByteBuffer record;
    for (; position < stat->size;) {
        record.resize(8);
        const Result<std::size_t> head = read_fully(*vfs_, file_.get(), record, position);
        if (!head.ok()) return head.status();
        if (head.value() != record.size()) break;
        ByteReader lengths(record);
        const std::size_t first = lengths.get<std::uint32_t>();
        const std::size_t second = lengths.get<std::uint32_t>();
        const std::uint64_t whole = 8 + std::uint64_t{first} + second + 8;
        if (whole > stat->size - position) break;
        record.resize(static_cast<std::size_t>(whole));
        const Result<std::size_t> got = read_fully(*vfs_, file_.get(), record, position);
        if (!got.ok()) return got.status();
        if (got.value() != record.size()) break;
        const Bytes body = Bytes(record).first(record.size() - 8);
        ByteReader sum(Bytes(record).last(8));
        if (sum.get<std::uint64_t>() != checksum64(body, kMagic)) break;
        if (first == 0) {
            made(ByteReader(body.subspan(8)).object_id());
        } else {
            GEMEL_TRY(saved(body.subspan(8, first), body.subspan(8 + first)));
        }
        position += whole;
    }
    if (position < stat->size) GEMEL_PROBE("before image: a torn record");
    size_ = position;
    return Status();
}

Result<ScopedFd> BeforeJournal::content(ObjectId object) noexcept {
    const Result<Fd> opened = vfs_->open_at(directory_.get(), hex_name(object), O_RDONLY, 0);
    if (!opened.ok()) return opened.status();
    return ScopedFd(*vfs_, opened.value());
}

}  // namespace gemel
