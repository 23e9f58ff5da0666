// SPDX-License-Identifier: Apache-2.0
// What differs is asked for once more, with all that is known of it here at that moment; what
// differs then is reported.
#include "engine/base/probe.hpp"
#include "resync/verify_source.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

namespace {

std::string joined(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + '/' + name;
}

}  // namespace

Status VerifySource::on_frame(FrameType type, Bytes payload) noexcept {
    const Status status = type == FrameType::verify_answer ? on_answer(payload) : on_reply(payload);
    if (status.ok() && is_running_) schedule();
    return status;
}

Status VerifySource::on_answer(Bytes payload) noexcept {
    const Result<VerifyAnswer> answer = decode_verify_answer(payload);
    if (!answer.ok()) return answer.status();
    if (!is_running_ || answer->run != run_) return Status();  // of an earlier run
    if (outstanding_.empty() || outstanding_.front().number != answer->number) {
        return Status(Code::corrupt);
    }
    Check check = std::move(outstanding_.front());
    outstanding_.pop_front();
    for (const std::uint16_t place : answer->differing) {
        if (place >= check.items.size()) return Status(Code::corrupt);
        look_again(check.items[place]);
    }
    return Status();
}

void VerifySource::look_again(Item item) noexcept {
    const VerifyUnit& unit = item.unit;
    if (unit.kind == VerifyKind::names) {
        name_by_name_.push_back({unit.volume, item.met.directory});
    } else if (unit.kind == VerifyKind::hole) {
        contents_.push_back({unit.volume, item.met, unit.offset, unit.offset + unit.size, true});
    } else {
        questions_.push_back(std::move(item));
    }
}

// False: it can't be asked now.
bool VerifySource::ask() noexcept {
    Question question;
    question.item = questions_.front();
    if (question.item.unit.kind == VerifyKind::content) {
        const VerifyUnit& unit = question.item.unit;
        const bool is_block = walks_[unit.volume] == nullptr;
        if (is_block && !is_quiet(unit.volume, unit.offset, unit.size)) return false;
    }
    questions_.pop_front();
    if (!read_own_side(question)) return true;  // gone, or the end of it all
    question.number = next_number_++;
    VerifyUnit unit = question.item.unit;
    unit.name = question.item.met.name;
    flush();  // numbers rise in the stream
    const VerifyCheck check{run_, question.number, {unit}};
    frame_.clear();
    encode_verify_check(check, frame_);
    asked_ = std::move(question);
    replica_.link()->send(FrameType::verify_question, frame_);
    replica_.link()->flush();
    turn_bytes_ += kObjectCost;
    allowance_ -= static_cast<std::int64_t>(kObjectCost);
    return true;
}

// False: there is nothing to ask any more.
bool VerifySource::read_own_side(Question& question) noexcept {
    VerifyUnit& unit = question.item.unit;
    Status status;
    if (unit.kind == VerifyKind::attributes) {
        Result<ObjectDescription> now = describe_object(directory(unit.volume), unit.object);
        if (now.ok()) question.description = std::move(now).value();
        // Not here: the other node is asked all the same.
        if (!now.ok() && !is_gone(now.status())) status = now.status();
    } else if (unit.kind == VerifyKind::content) {
        Volume& volume = replica_.volume(unit.volume);
        if (!volume.exists(unit.object)) return false;
        status = read_for_verify(loop_.vfs(), volume, unit, chunk_);
        if (status.ok()) question.blocks = block_marks(chunk_);
        if (is_gone(status)) return false;
        turn_bytes_ += unit.size;
        allowance_ -= static_cast<std::int64_t>(unit.size);
    } else if (unit.kind == VerifyKind::entry) {
        status = own_entry(question.item, unit.entry);
        if (is_gone(status)) return false;
    }
    if (!status.ok()) fail(status);
    return status.ok();
}

// `id`: none, there is no such name here. Gone: the directory itself.
Status VerifySource::own_entry(const Item& item, ObjectId& id) noexcept {
    DirectoryVolume& volume = directory(item.unit.volume);
    id = kNoObject;
    if (!volume.exists(item.unit.object)) return Status::from_errno(ESTALE);
    const Result<Attributes> found = volume.lookup(item.unit.object, item.met.name);
    if (found.ok()) {
        if (!volume.is_local(found->id)) id = found->id;
        return Status();
    }
    // Of another file system, or hidden: no name of the volume's.
    const bool is_none = is_gone(found.status()) || found.status().is_errno(EXDEV);
    return is_none ? Status() : found.status();
}

Status VerifySource::on_reply(Bytes payload) noexcept {
    const Result<VerifyReply> reply = decode_verify_reply(payload);
    if (!reply.ok()) return reply.status();
    if (!is_running_ || reply->run != run_) return Status();  // of an earlier run
    if (!asked_ || asked_->number != reply->number) return Status(Code::corrupt);
    const Question question = std::move(*asked_);
    asked_.reset();
    if (reply->failed) {
        end(VerifyEnd::failed, "the other node could not read " + path_of(question.item));
        return Status();
    }
    switch (question.item.unit.kind) {
        case VerifyKind::attributes:
            return settle_attributes(question, reply.value());
        case VerifyKind::content:
            return settle_content(question, reply.value());
        case VerifyKind::entry:
            settle_entry(question, reply.value());
            break;
        case VerifyKind::listing:
            settle_listing(question, reply.value());
            break;
        case VerifyKind::names:
        case VerifyKind::hole:
            break;  // never asked
    }
    return Status();
}

Status VerifySource::settle_attributes(const Question& question,
                                       const VerifyReply& reply) noexcept {
    const Item& item = question.item;
    const VerifyUnit& unit = item.unit;
    if (!question.description || !reply.is_there) {
        if (question.description.has_value() == reply.is_there) return Status();
        if (question.description) {
            report_.mark_missing(unit.volume, unit.object, item.met.directory.id);
            report(item, {"missing", {}, {}});
        } else {
            report_.mark({item.met.directory.id, IntentKey::kNames, unit.volume});
            report(item, {"superfluous", {}, {}});
        }
        return Status();
    }
    const Result<ObjectDescription> there = decode_description(reply.description);
    if (!there.ok()) return there.status();
    for (const VerifyDetail& detail : differences(*question.description, there.value())) {
        report_.mark({unit.object, IntentKey::kAttributes, unit.volume});
        report(item, detail);
    }
    return Status();
}

Status VerifySource::settle_content(const Question& question, const VerifyReply& reply) noexcept {
    if (!reply.is_there) return Status();  // its attributes have told so
    const Item& item = question.item;
    const VerifyUnit& unit = item.unit;
    if (reply.blocks.size() != question.blocks.size()) return Status(Code::corrupt);
    bool differs = false;
    bool holes_differ = false;
    for (std::size_t i = 0; i < reply.blocks.size(); ++i) {
        const BlockMark& here = question.blocks[i];
        const BlockMark& there = reply.blocks[i];
        const std::uint64_t begin = unit.offset + i * kChunkBlock;
        const ByteRange range{begin, std::min(begin + kChunkBlock, unit.offset + unit.size)};
        const bool bytes_differ = here.checksum != there.checksum;
        if (bytes_differ) {
            differs = true;
            report_.mark_content(unit.volume, unit.object, range);
            tell(item, report_.add_content(unit.volume, path_of(item), range));
        } else if (here.is_data != there.is_data) {
            holes_differ = true;
            if (!unit.disk) continue;
            report_.mark_content(unit.volume, unit.object, range);
            tell(item, report_.add_holes(unit.volume, path_of(item), range));
        }
    }
    const bool is_file = walks_[unit.volume] != nullptr;
    if (is_file && !differs && holes_differ && !unit.disk) {
        GEMEL_PROBE("verify: a difference of holes alone is looked at without the caches");
        Item again = item;
        again.unit.disk = true;
        questions_.push_front(std::move(again));
    }
    return Status();
}

void VerifySource::settle_entry(const Question& question, const VerifyReply& reply) noexcept {
    const Item& item = question.item;
    const VerifyUnit& unit = item.unit;
    if (unit.entry.is_none() ? !reply.is_there : reply.is_there && reply.entry == unit.entry) {
        return;
    }
    report_.mark({unit.object, IntentKey::kNames, unit.volume});
    if (!reply.is_there) {
        report_.mark_missing(unit.volume, unit.entry, unit.object);
        report(item, {"missing", {}, {}});
    } else if (unit.entry.is_none()) {
        report(item, {"superfluous", {}, {}});
    } else {
        const auto shown = [](ObjectId id) {
            return id.is_none() ? std::string("an object of nobody's")
                                : "object " + std::to_string(id.value);
        };
        report(item, {"name", shown(unit.entry), shown(reply.entry)});
    }
}

void VerifySource::settle_listing(const Question& question, const VerifyReply& reply) noexcept {
    NameByName& names = name_by_name_.front();
    Item item = question.item;
    item.unit.kind = VerifyKind::entry;
    for (const auto& [name, id] : reply.entries) {
        item.met.name = name;
        ObjectId own;
        const Status status = own_entry(item, own);
        if (!status.ok() && !is_gone(status)) return fail(status);
        if (!status.ok() || (own == id && !own.is_none())) continue;
        questions_.push_back(item);
    }
    if (!reply.is_there) {
        // The directory is not there: of itself that has been told.
        name_by_name_.pop_front();
    } else if (reply.has_more) {
        names.position = reply.position;
    } else {
        names.theirs_are_done = true;
        names.position = 0;
    }
}

std::string VerifySource::path_of(const Item& item) noexcept {
    VerifyWalk* walk = walks_[item.unit.volume].get();
    if (walk == nullptr) return {};
    const std::string directory = walk->path_of(item.met.directory);
    return item.met.name.empty() ? directory : joined(directory, item.met.name);
}

void VerifySource::report(const Item& item, const VerifyDetail& detail) noexcept {
    tell(item, report_.add(item.unit.volume, path_of(item), detail));
}

// In a turn of its own: the owner may end this when told.
void VerifySource::tell(const Item& item, bool is_new) noexcept {
    if (!is_new) return;
    loop_.post([on_difference = options_.on_difference, alive = alive_, volume = item.unit.volume,
                path = path_of(item)] {
        if (*alive && on_difference) on_difference(volume, path);
    });
}

}  // namespace gemel
