// SPDX-License-Identifier: Apache-2.0
// Objects: made or adopted, their attributes, their content.
#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/mirror/suspect_cache.hpp"
#include "resync/target.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <iterator>
#include <limits>
#include <linux/falloc.h>
#include <sys/stat.h>

namespace gemel {

namespace {

// A write drops it, whoever writes (file_remove_privs of Linux).
constexpr std::string_view kCapabilityAttribute = "security.capability";
constexpr std::size_t kCapabilitySizeMax = 64;

// A file may have any size by then; a block volume has the same on both nodes.
bool is_inside(Volume& target, std::uint64_t offset, std::uint64_t size) noexcept {
    const BlockVolume* block = target.as_block();
    return block == nullptr || (offset <= block->size() && size <= block->size() - offset);
}

}  // namespace

Status ResyncTarget::on_attributes(Bytes payload) noexcept {
    Result<AttributesItem> item = decode_attributes(payload);
    if (!item.ok()) return item.status();
    GEMEL_TRY(take_part(item.value()));
    if (!item->last) return Status();
    note_progress(item->head);
    DirectoryVolume& target = directory(item->head);
    bool made = false;
    Status status;
    if (target.exists(item->head.object)) {
        status = keep(item->head.volume, item->head.object);
    } else {
        if (!item->make) {
            answer(item->head.number, Verdict::missing);
            return Status();
        }
        status = make(item.value(), made);
        if (!status.ok()) {
            fail(status, "an object could not be made");
            return Status();
        }
    }
    if (status.ok() && options_.distrusts_cache && !made) {
        status = show_as_on_disk(loop_.vfs(), target, item->head.object);
    }
    if (status.ok()) {
        status = target.set_full_attributes(item->head.object, item->attributes);
    }
    if (!status.ok()) {
        fail(status, "an object's attributes could not be set");
        return Status();
    }
    answer(item->head.number, made ? Verdict::want : Verdict::ok);
    return Status();
}

// With the last one the item has all of them.
Status ResyncTarget::take_part(AttributesItem& item) noexcept {
    if (parts_.number == 0) {
        GEMEL_TRY(take_number(item.head));
        parts_.number = item.head.number;
        parts_.object = item.head.object;
    } else if (item.head.number != parts_.number || item.head.object != parts_.object) {
        return Status(Code::corrupt);
    }
    auto& xattrs = item.attributes.xattrs;
    parts_.xattrs.insert(parts_.xattrs.end(), std::make_move_iterator(xattrs.begin()),
                         std::make_move_iterator(xattrs.end()));
    if (parts_.xattrs.size() > kXattrsMax) return Status(Code::corrupt);
    if (!item.last) return Status();
    xattrs = std::move(parts_.xattrs);
    parts_ = Parts();
    return Status();
}

// `made`: there was nothing to adopt.
Status ResyncTarget::make(const AttributesItem& item, bool& made) noexcept {
    if (options_.before != nullptr && S_ISDIR(item.attributes.stat.mode)) {
        GEMEL_TRY(options_.before->note_made(item.head.volume, item.head.object));
    } else {
        // It is not there: what comes for it is no change of what was.
        GEMEL_TRY(keep(item.head.volume, item.head.object));
    }
    made = !adopt(item);
    if (!made) return Status();
    return directory(item.head).make_skeleton(item.head.object, item.attributes.stat.mode,
                                              item.attributes.stat.special_device,
                                              item.link_target);
}

// An older copy under the same name becomes the object, if it is nobody else. Content and entries
// are compared then; other kinds have none worth keeping.
bool ResyncTarget::adopt(const AttributesItem& item) noexcept {
    const std::uint32_t mode = item.attributes.stat.mode;
    if (item.parent.is_none() || (!S_ISREG(mode) && !S_ISDIR(mode))) return false;
    DirectoryVolume& target = directory(item.head);
    const Result<Attributes> there = target.lookup_raw(item.parent, item.name);
    if (!there.ok()) return false;
    // It was another node's own until the list of excluded names was changed.
    if (there->id == item.head.object) return true;
    if (!there->id.is_none()) return false;
    if ((there->stat.mode & S_IFMT) != (mode & S_IFMT)) return false;
    const Status adopted = target.adopt(item.parent, item.name, item.head.object);
    if (!adopted.ok()) return false;
    GEMEL_PROBE("resync: an older copy is adopted");
    return true;
}

Status ResyncTarget::on_check(Bytes payload) noexcept {
    const Result<CheckItem> item = decode_check(payload);
    if (!item.ok()) return item.status();
    GEMEL_TRY(take_number(item->head));
    note_progress(item->head);
    Volume& target = volume(item->head);
    if (!is_inside(target, item->offset, item->size)) return Status(Code::corrupt);
    if (!target.exists(item->head.object)) {
        answer(item->head.number, Verdict::missing);
        return Status();
    }
    const Result<Fd> fd = target.data_fd(item->head.object);
    Status status = fd.ok() ? Status() : fd.status();
    if (status.ok() && options_.distrusts_cache) {
        status = loop_.vfs().drop_cache(fd.value());
    } else if (status.ok()) {
        // The source goes on behind it, and this disk can work while it does.
        const Result<Attributes> now = target.attributes(item->head.object);
        const DirtyRange range{item->offset, item->offset + item->size};
        const std::uint64_t limit = now.ok() ? now->stat.size : range.end;
        read_ahead_.expect(item->head.volume, item->head.object, fd.value(), range,
                           std::max(limit, range.end));
    }
    if (status.ok()) {
        status =
            read_chunk(loop_.vfs(), fd.value(), item->offset, item->size, zeros_of(target), chunk_);
    }
    if (!status.ok()) {
        fail(status, "a file could not be read for the comparison");
        return Status();
    }
    progress_.bytes_compared += item->size;
    ItemAnswer reply;
    reply.number = item->head.number;
    reply.blocks = chunk_.block_digests();
    if (digest_of(chunk_.size, reply.blocks) == item->digest) {
        reply.blocks.clear();
    } else {
        reply.verdict = Verdict::want;
    }
    answer(reply);
    return Status();
}

Status ResyncTarget::on_content(Bytes payload) noexcept {
    const Result<ContentItem> item = decode_content(payload);
    if (!item.ok()) return item.status();
    GEMEL_TRY(take_number(item->head));
    note_progress(item->head);
    Volume& target = volume(item->head);
    if (!is_inside(target, item->offset, item->size)) return Status(Code::corrupt);
    if (!target.exists(item->head.object)) {
        answer(item->head.number, Verdict::missing);
        return Status();
    }
    DirectoryVolume* directory = target.as_directory();
    Status status = keep(item->head.volume, item->head.object);
    if (status.ok()) {
        status = directory == nullptr ? write_content(item.value())
                                      : write_file(*directory, item.value());
    }
    if (!status.ok()) {
        fail(status, "a file's content could not be written");
        return Status();
    }
    progress_.bytes_sent += item->data.size();
    answer(item->head.number, Verdict::ok);
    return Status();
}

// Its capabilities, which every write drops, stay.
Status ResyncTarget::write_file(DirectoryVolume& target, const ContentItem& item) noexcept {
    std::array<std::byte, kCapabilitySizeMax> capability;
    const Result<std::size_t> capability_size =
        target.get_xattr(item.head.object, kCapabilityAttribute, capability);
    GEMEL_TRY(write_content(item));
    if (!capability_size.ok()) return Status();
    Op restore;
    restore.kind = OpKind::set_xattr;
    restore.object = item.head.object;
    restore.name = kCapabilityAttribute;
    restore.data = Bytes(capability).first(capability_size.value());
    return target.apply(restore);
}

Status ResyncTarget::write_content(const ContentItem& item) noexcept {
    if (item.partial) {
        for (const DataSegment& hole : item.holes) GEMEL_TRY(punch(item, hole.begin, hole.end));
    } else {
        std::uint64_t position = 0;
        for (const DataSegment& segment : item.segments) {
            GEMEL_TRY(punch(item, position, segment.begin));
            position = segment.end;
        }
        GEMEL_TRY(punch(item, position, item.size));
    }
    return write_segments(item);
}

Status ResyncTarget::write_segments(const ContentItem& item) noexcept {
    Volume& target = volume(item.head);
    std::size_t taken = 0;
    for (const DataSegment& segment : item.segments) {
        Op write;
        write.kind = OpKind::write;
        write.object = item.head.object;
        write.offset = item.offset + segment.begin;
        write.size = segment.end - segment.begin;
        write.data = item.data.subspan(taken, static_cast<std::size_t>(write.size));
        write.modified = item.modified;
        GEMEL_TRY(target.apply(write));
        taken += write.data.size();
    }
    if (item.data.size() < kChunkBlock * 4 || target.as_block() != nullptr) return Status();
    const Result<Fd> fd = target.data_fd(item.head.object);
    if (!fd.ok()) return fd.status();
    read_ahead_.wrote(item.head.volume, item.head.object, fd.value(),
                      {item.offset, item.offset + item.size});
    return Status();
}

// [begin, end) of the item's range holds no data from here on. What is a hole already stays as it
// is, allocated or not.
Status ResyncTarget::punch(const ContentItem& item, std::uint64_t begin,
                           std::uint64_t end) noexcept {
    if (begin == end) return Status();
    // Only a range that ends with the file is no multiple; its last block goes whole.
    const std::uint64_t from = item.offset + begin;
    std::uint64_t to = (item.offset + end + kChunkBlock - 1) / kChunkBlock * kChunkBlock;
    const BlockVolume* block = volume(item.head).as_block();
    if (block != nullptr) to = std::min(to, block->size());
    const Result<Fd> fd = volume(item.head).data_fd(item.head.object);
    if (!fd.ok()) return fd.status();
    const Result<std::uint64_t> data = next_data(loop_.vfs(), fd.value(), from, to);
    if (!data.ok()) return data.status();
    if (data.value() == to) return Status();
    Op hole;
    hole.kind = OpKind::allocate;
    hole.object = item.head.object;
    hole.offset = from;
    constexpr std::uint64_t kFileSizeMax = std::numeric_limits<std::int64_t>::max();
    hole.size = std::min(to, kFileSizeMax) - from;
    hole.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    hole.modified = item.modified;
    return volume(item.head).apply(hole);
}

}  // namespace gemel
