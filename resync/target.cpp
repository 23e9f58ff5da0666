// SPDX-License-Identifier: Apache-2.0
// The target's session: beginning, intents, answers, end.
#include "resync/target.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/mirror/messages.hpp"

#include <tuple>
#include <utility>

namespace gemel {

ResyncTarget::ResyncTarget(Loop& loop, LogSink& log, Replica& replica, ResyncProgress& progress,
                           ReadAhead& read_ahead, const Options& options) noexcept
    : loop_(loop),
      log_(log),
      replica_(replica),
      progress_(progress),
      options_(options),
      read_ahead_(read_ahead) {
    progress_ = ResyncProgress();
    read_ahead_.begin();
}

ResyncTarget::~ResyncTarget() {
    *alive_ = false;
    progress_.running = false;
}

void ResyncTarget::start() noexcept {
    PeerLink* link = replica_.link();
    GEMEL_ASSERT(link != nullptr);
    ResyncHello hello;
    hello.boot = loop_.boot_id();
    hello.comparison = options_.comparison;
    for (std::uint16_t i = 0; i < replica_.volume_count(); ++i) {
        hello.volumes.push_back({replica_.volume(i).id(), options_.must_compare});
    }
    replica_.intents().for_each([&](const IntentKey& key) {
        if (key.region != IntentKey::kVolume || key.volume >= replica_.volume_count()) return;
        hello.volumes[key.volume].must_compare = true;
    });
    frame_.clear();
    encode_hello(hello, frame_);
    link->send(FrameType::resync_begin, frame_);
    std::vector<IntentKey> keys;
    const auto flush = [&](bool last) {
        frame_.clear();
        encode_resync_intents(keys, last, frame_);
        link->send(FrameType::resync_intents, frame_);
        keys.clear();
    };
    replica_.intents().for_each([&](const IntentKey& key) {
        if (key.volume >= replica_.volume_count()) return;
        keys.push_back(key);
        if (keys.size() == kResyncIntentsMax) flush(false);
    });
    flush(true);
    link->flush();
}

Status ResyncTarget::intents_of(FrameType type, Bytes payload, IntentSet& set) noexcept {
    if (over_ || type == FrameType::resync_begin || type == FrameType::resync_check ||
        type == FrameType::resync_end) {
        return Status();
    }
    const Result<ItemHead> head = decode_item_head(payload);
    if (!head.ok()) return head.status();
    if (head->volume >= replica_.volume_count()) return Status(Code::corrupt);
    const bool is_content = type == FrameType::resync_content;
    if (volume(head.value()).as_block() != nullptr && !is_content) return Status(Code::corrupt);
    if (type == FrameType::resync_names) {
        set.add({head->object, IntentKey::kNames, head->volume});
    } else if (type == FrameType::resync_content) {
        const Result<ContentItem> item = decode_content(payload);
        if (!item.ok()) return item.status();
        set.add_content(head->volume, head->object, item->offset, item->size);
    } else if (type == FrameType::resync_attributes) {
        IntentKey key{head->object, IntentKey::kAttributes, head->volume};
        // An object about to be made: a range, so that its neighbours cost no log write. They come
        // in any order, so the ranges are aligned: unaligned ones would overlap a thousandfold.
        // (The directories that are always there can only fail to be read.)
        if (head->object >= kFirstObject && !volume(head.value()).exists(head->object) &&
            !replica_.intents().covers(key)) {
            const std::uint64_t sequence = head->object.sequence();
            key.object = ObjectId::make(head->object.tag(), sequence - sequence % kIdRangeCount);
            key.region = IntentKey::kIdRange;
        }
        set.add(key);
    } else {
        return Status(Code::corrupt);
    }
    return Status();
}

bool ResyncTarget::is_ready(FrameType type, Bytes payload) noexcept {
    if (type == FrameType::resync_end) {
        // What is synced then has to be the whole copy.
        for (std::uint16_t i = 0; i < replica_.volume_count(); ++i) {
            const BlockVolume* block = replica_.volume(i).as_block();
            if (block != nullptr && block->is_busy()) return false;
        }
        return true;
    }
    if (type != FrameType::resync_check && type != FrameType::resync_content) return true;
    const Result<ItemHead> head = decode_item_head(payload);
    if (!head.ok() || head->volume >= replica_.volume_count()) return true;  // refused in its turn
    const BlockVolume* block = volume(head.value()).as_block();
    return block == nullptr || !block->is_busy();
}

Status ResyncTarget::on_frame(FrameType type, Bytes payload) noexcept {
    if (over_) return Status();
    rate_.update(progress_, loop_.now());
    if (planned_ == (type == FrameType::resync_begin)) return Status(Code::corrupt);
    // A listing's frames follow one another.
    if (listing_.number != 0 && type != FrameType::resync_names) return Status(Code::corrupt);
    switch (type) {
        case FrameType::resync_begin:
            return on_plan(payload);
        case FrameType::resync_names:
            return on_names(payload);
        case FrameType::resync_attributes:
            return on_attributes(payload);
        case FrameType::resync_check:
            return on_check(payload);
        case FrameType::resync_content:
            return on_content(payload);
        case FrameType::resync_end:
            return on_end(payload);
        default:
            return Status(Code::corrupt);
    }
}

Status ResyncTarget::on_plan(Bytes payload) noexcept {
    const Result<ResyncPlan> plan = decode_plan(payload);
    if (!plan.ok()) return plan.status();
    if (plan->volumes.size() != replica_.volume_count()) return Status(Code::corrupt);
    for (std::uint16_t i = 0; i < replica_.volume_count(); ++i) {
        // Another volume's objects have ids of their own: nothing less than all will do.
        if (plan->volumes[i].id != replica_.volume(i).id() && !plan->volumes[i].full) {
            return Status(Code::corrupt);
        }
    }
    for (std::uint16_t i = 0; i < replica_.volume_count(); ++i) {
        if (plan->volumes[i].id == replica_.volume(i).id()) continue;
        GEMEL_PROBE("resync: the target becomes part of the source's volume");
        if (options_.before != nullptr) std::ignore = options_.before->drop();  // its ids are void
        const Status adopted = replica_.volume(i).adopt_volume_id(plan->volumes[i].id);
        if (adopted.ok()) continue;
        fail(adopted, "the volume's identity could not be stored");
        return Status();
    }
    planned_ = true;
    progress_.running = true;
    progress_.started = loop_.now();
    return Status();
}

Status ResyncTarget::take_number(const ItemHead& head) noexcept {
    if (head.number != number_ + 1 || head.volume >= replica_.volume_count()) {
        return Status(Code::corrupt);
    }
    number_ = head.number;
    return Status();
}

void ResyncTarget::note_progress(const ItemHead& head) noexcept {
    progress_.done_bytes = std::max(progress_.done_bytes, head.done_bytes);
    progress_.total_bytes = head.total_bytes;
}

// One frame a turn carries all answers of it.
void ResyncTarget::answer(const ItemAnswer& answer) noexcept {
    ++progress_.objects_done;
    const bool first = answers_.empty();
    encode_answer(answer, answers_);
    const auto send = [this] {
        if (answers_.empty() || over_ || replica_.link() == nullptr) return;
        replica_.link()->send(FrameType::resync_answer, answers_);
        replica_.link()->flush();
        answers_.clear();
    };
    if (answers_.size() > 64 * kKiB) {
        send();
    } else if (first) {
        loop_.post([alive = alive_, send] {
            if (*alive) send();
        });
    }
}

Status ResyncTarget::on_end(Bytes payload) noexcept {
    const Result<std::uint64_t> number = decode_number(payload);
    if (!number.ok()) return number.status();
    if (number.value() != number_ + 1) return Status(Code::corrupt);
    number_ = number.value();
    // Else BeforeImage::end() does so.
    const bool is_kept = options_.before != nullptr && options_.before->is_kept();
    for (std::uint16_t i = 0; !is_kept && i < replica_.volume_count(); ++i) {
        DirectoryVolume* directory = replica_.volume(i).as_directory();
        if (directory == nullptr) continue;
        const Status discarded = directory->discard_detached();
        if (discarded.ok()) continue;
        fail(discarded, "what the source does not have could not be removed");
        return Status();
    }
    replica_.sync_everything([this, alive = alive_, ended = number_](Status status) {
        if (!*alive || over_ || replica_.link() == nullptr) return;
        if (!status.ok()) {
            if (options_.before != nullptr) options_.before->make_room(status);
            fail(as_disk_failure(status),
                 "the resynchronised copy could not be made durable (" + status.to_string() + ")");
            return;
        }
        ByteBuffer done;
        encode_number(ended, done);
        replica_.link()->send(FrameType::resync_done, done);
        replica_.link()->flush();
    });
    return Status();
}

void ResyncTarget::on_session_lost() noexcept {
    over_ = true;
    progress_.running = false;
}

void ResyncTarget::fail(Status reason, const std::string& what) noexcept {
    if (over_) return;
    over_ = true;
    progress_.running = false;
    // The owner may drop this object when told.
    loop_.post([this, alive = alive_, reason, what] {
        if (*alive) replica_.fail_locally(reason, what);
    });
}

}  // namespace gemel
