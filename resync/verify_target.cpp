// SPDX-License-Identifier: Apache-2.0
#include "resync/verify_target.hpp"

#include "engine/base/probe.hpp"
#include "resync/verify_compare.hpp"

namespace gemel {

namespace {

constexpr std::size_t kListBatch = 128;
constexpr std::uint64_t kLocalMax = 1024;

// A unit fits the volume that it names.
bool is_sensible(Replica& replica, const VerifyUnit& unit) noexcept {
    if (unit.volume >= replica.volume_count()) return false;
    const bool is_block = replica.volume(unit.volume).as_block() != nullptr;
    if (!is_block) return unit.object != kBlockObject;
    return unit.object == kBlockObject &&
           (unit.kind == VerifyKind::content || unit.kind == VerifyKind::hole);
}

// A block volume here may still be shorter while it grows.
bool is_inside(Volume& volume, const VerifyUnit& unit) noexcept {
    const BlockVolume* block = volume.as_block();
    return block == nullptr || unit.offset + unit.size <= block->size();
}

}  // namespace

VerifyTarget::~VerifyTarget() { *alive_ = false; }

// Changes of block volumes are carried out beside the stream: those before the frame have to be
// done in the ranges that it is about.
bool VerifyTarget::is_ready(FrameType, Bytes payload) noexcept {
    const Result<VerifyCheck> check = decode_verify_check(payload);
    if (!check.ok()) return true;  // refused in its turn
    for (const VerifyUnit& unit : check->units) {
        if (!is_sensible(replica_, unit)) continue;
        const BlockVolume* block = replica_.volume(unit.volume).as_block();
        if (block != nullptr && block->is_busy(unit.offset, unit.size)) return false;
    }
    return true;
}

Status VerifyTarget::on_frame(FrameType type, Bytes payload) noexcept {
    const Result<VerifyCheck> check = decode_verify_check(payload);
    if (!check.ok()) return check.status();
    for (const VerifyUnit& unit : check->units) {
        const bool is_question_only = unit.kind == VerifyKind::listing;
        if (!is_sensible(replica_, unit)) return Status(Code::corrupt);
        if (type == FrameType::verify_check && is_question_only) return Status(Code::corrupt);
    }
    if (type == FrameType::verify_check) return on_check(check.value());
    const VerifyKind kind = check->units.front().kind;
    const bool is_check_only = kind == VerifyKind::names || kind == VerifyKind::hole;
    if (check->units.size() != 1 || is_check_only) return Status(Code::corrupt);
    return on_question(check.value());
}

Status VerifyTarget::on_check(const VerifyCheck& check) noexcept {
    VerifyAnswer answer{check.run, check.number, {}};
    for (std::size_t i = 0; i < check.units.size(); ++i) {
        const Result<bool> equal = is_equal(check.units[i]);
        if (!equal.ok()) note_failure(equal.status());
        if (!equal.ok() || !equal.value()) {
            answer.differing.push_back(static_cast<std::uint16_t>(i));
        }
    }
    frame_.clear();
    encode_verify_answer(answer, frame_);
    send(FrameType::verify_answer);
    return Status();
}

Result<bool> VerifyTarget::is_equal(const VerifyUnit& unit) noexcept {
    if (unit.kind == VerifyKind::content) return has_content(unit);
    if (unit.kind == VerifyKind::hole) return has_hole(unit);
    DirectoryVolume& volume = replica_.directory(unit.volume);
    if (unit.kind == VerifyKind::names) return has_names(volume, unit);
    if (unit.kind == VerifyKind::entry) return has_entry(volume, unit);
    const Result<ObjectDescription> now = describe_object(volume, unit.object);
    if (!now.ok()) return now.status();
    return digest_of(now.value()) == unit.digest;
}

Result<bool> VerifyTarget::has_names(DirectoryVolume& volume, const VerifyUnit& unit) noexcept {
    if (!volume.exists(unit.object)) return false;
    NamesDigest names;
    std::uint64_t seen = 0;
    for (std::uint64_t position = 0;;) {
        listed_.clear();
        const Status status = volume.list(unit.object, position, kListBatch, listed_);
        if (!status.ok()) return status;
        if (listed_.empty()) break;
        position = listed_.back().next;
        for (const ListedEntry& entry : listed_) {
            if (!entry.local) names.add(entry.name, entry.id);
        }
        // What is too many need not be read to its end, nor many that are kept per node: a
        // comparison name by name follows.
        seen += listed_.size();
        if (names.count > unit.count || seen > unit.count + kLocalMax) return false;
    }
    return names == NamesDigest{unit.digest, unit.count};
}

Result<bool> VerifyTarget::has_entry(DirectoryVolume& volume, const VerifyUnit& unit) noexcept {
    VerifyReply reply;
    const Status status = answer_entry(unit, reply);
    if (!status.ok()) return status;
    if (unit.entry.is_none()) return !reply.is_there && volume.exists(unit.object);
    return reply.is_there && reply.entry == unit.entry;
}

Result<bool> VerifyTarget::has_content(const VerifyUnit& unit) noexcept {
    Volume& volume = replica_.volume(unit.volume);
    if (!volume.exists(unit.object) || !is_inside(volume, unit)) return false;
    const Status status = read_for_verify(loop_.vfs(), volume, unit, chunk_);
    if (!status.ok()) return status;
    return chunk_.digest() == unit.digest;
}

Result<bool> VerifyTarget::has_hole(const VerifyUnit& unit) noexcept {
    Volume& volume = replica_.volume(unit.volume);
    if (!volume.exists(unit.object) || !is_inside(volume, unit)) return false;
    const Result<Fd> fd = volume.data_fd(unit.object);
    if (!fd.ok()) return fd.status();
    const std::uint64_t limit = unit.offset + unit.size;
    const Result<std::uint64_t> data = next_data(loop_.vfs(), fd.value(), unit.offset, limit);
    if (!data.ok()) return data.status();
    return data.value() == limit;
}

Status VerifyTarget::on_question(const VerifyCheck& check) noexcept {
    const VerifyUnit& unit = check.units.front();
    VerifyReply reply;
    reply.run = check.run;
    reply.number = check.number;
    Status status;
    if (unit.kind == VerifyKind::content) {
        status = answer_content(unit, reply);
    } else if (unit.kind == VerifyKind::entry) {
        status = answer_entry(unit, reply);
    } else if (unit.kind == VerifyKind::listing) {
        status = answer_listing(unit, reply);
    } else {
        const Result<ObjectDescription> now =
            describe_object(replica_.directory(unit.volume), unit.object);
        status = now.ok() ? Status() : now.status();
        if (now.ok()) {
            description_.clear();
            encode_description(now.value(), description_);
            reply.description = description_;
            reply.is_there = true;
        }
    }
    if (!status.ok()) note_failure(status);
    reply.failed = !status.ok() && !is_gone(status);
    frame_.clear();
    encode_verify_reply(reply, frame_);
    send(FrameType::verify_reply);
    return Status();
}

Status VerifyTarget::answer_entry(const VerifyUnit& unit, VerifyReply& reply) noexcept {
    DirectoryVolume& volume = replica_.directory(unit.volume);
    if (!volume.exists(unit.object)) return Status();
    const Result<Attributes> found = volume.lookup_raw(unit.object, unit.name);
    if (!found.ok()) return is_gone(found.status()) ? Status() : found.status();
    if (volume.is_local(found->id)) return Status();
    reply.is_there = true;
    // An id that is reserved, or a stranger's: none of the mirror's objects.
    if (found->id >= kFirstObject) reply.entry = found->id;
    return Status();
}

Status VerifyTarget::answer_content(const VerifyUnit& unit, VerifyReply& reply) noexcept {
    Volume& volume = replica_.volume(unit.volume);
    if (!volume.exists(unit.object) || !is_inside(volume, unit)) return Status();
    GEMEL_TRY(read_for_verify(loop_.vfs(), volume, unit, chunk_));
    reply.is_there = true;
    reply.blocks = block_marks(chunk_);
    return Status();
}

Status VerifyTarget::answer_listing(const VerifyUnit& unit, VerifyReply& reply) noexcept {
    DirectoryVolume& volume = replica_.directory(unit.volume);
    if (!volume.exists(unit.object)) return Status();
    listed_.clear();
    GEMEL_TRY(volume.list(unit.object, unit.position, kListBatch, listed_));
    reply.is_there = true;
    reply.has_more = !listed_.empty();
    if (!listed_.empty()) reply.position = listed_.back().next;
    for (const ListedEntry& entry : listed_) {
        if (entry.local) continue;
        reply.entries.emplace_back(entry.name, entry.id >= kFirstObject ? entry.id : kNoObject);
    }
    return Status();
}

void VerifyTarget::send(FrameType type) noexcept {
    PeerLink* link = replica_.link();
    if (link == nullptr) return;
    link->send(type, frame_);
    link->flush();
}

void VerifyTarget::note_failure(Status status) noexcept {
    if (is_gone(status)) return;
    GEMEL_PROBE("verify: the following node can't read its copy");
    // The owner may drop this object when told.
    loop_.post([this, alive = alive_, status] {
        if (*alive) replica_.note_read_failure(status);
    });
}

}  // namespace gemel
