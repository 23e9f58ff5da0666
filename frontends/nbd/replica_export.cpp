// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/replica_export.hpp"

#include <algorithm>
#include <deque>
#include <linux/falloc.h>
#include <unistd.h>
#include <utility>

namespace gemel {

namespace {

// Keeps the intents of one op to regions (IntentSet::kRegionsMax).
constexpr std::uint64_t kZeroMax = 32 * kMiB;
// Bytes of zeros that ends of a range need which are no whole blocks.
constexpr std::byte kZeros[kBlockUnit] = {};

std::uint64_t up(std::uint64_t offset) noexcept {
    return (offset + kBlockUnit - 1) / kBlockUnit * kBlockUnit;
}

}  // namespace

// One request while it is under way: its pieces, then perhaps a sync. Used for one after the other.
class ReplicaExport::Task final : private BlockRead, private ClientSync {
   public:
    explicit Task(ReplicaExport& an_owner) noexcept : owner(an_owner) {}

    void begin(ExportRequest& a_request) noexcept {
        request = &a_request;
        pieces_ = done_ = 0;
        status_ = Status();
    }
    BlockRead& as_read() noexcept { return *this; }
    ClientSync& as_sync() noexcept { return *this; }
    // Most requests have one piece.
    Op& add_piece() noexcept {
        Piece& piece = pieces_++ == 0 ? first_ : more_.emplace_back(*this);
        piece.op = Op();
        return piece.op;
    }
    [[nodiscard]] bool has_pieces() const noexcept { return pieces_ > 0; }
    void submit_pieces() noexcept {
        for (std::size_t i = 0; i < pieces_; ++i) {
            Piece& piece = i == 0 ? first_ : more_[i - 1];
            piece.op.volume = owner.volume_;
            piece.op.object = kBlockObject;
            owner.replica_.submit(piece);
        }
    }

    ReplicaExport& owner;
    ExportRequest* request = nullptr;

   private:
    struct Piece final : ClientOp {
        explicit Piece(Task& a_task) noexcept : task(a_task) {}
        void on_complete(Status status) noexcept override { task.piece_done(status); }
        Task& task;
    };

    void piece_done(Status status) noexcept {
        if (status_.ok()) status_ = status;
        if (++done_ < pieces_) return;
        more_.clear();
        if (status_.ok() && request->fua) {
            owner.sync(*this);
        } else {
            owner.finish(*this, status_);
        }
    }
    void on_done(Status status) noexcept override {
        if (!status.ok()) owner.replica_.note_read_failure(status);
        owner.finish(*this, status);
    }
    void on_complete(Status status) noexcept override { owner.finish(*this, status); }

    Piece first_{*this};
    std::deque<Piece> more_;
    std::size_t pieces_ = 0, done_ = 0;
    Status status_;
};

ReplicaExport::ReplicaExport(Loop& loop, Replica& replica, std::uint16_t volume, std::string name,
                             std::string description)
    : loop_(loop),
      replica_(replica),
      volume_(volume),
      name_(std::move(name)),
      description_(std::move(description)),
      refusal_("the volume is not served yet") {}

ReplicaExport::~ReplicaExport() = default;

BlockVolume& ReplicaExport::volume() noexcept {
    BlockVolume* block = replica_.volume(volume_).as_block();
    GEMEL_ASSERT(block != nullptr);
    return *block;
}

void ReplicaExport::set_refusal(std::string reason) {
    if (reason == refusal_) return;
    refusal_ = std::move(reason);
    if (events_ != nullptr) events_->on_availability_changed();
}

std::uint64_t ReplicaExport::size() const noexcept {
    return replica_.volume(volume_).as_block()->size();
}

ExportLimits ReplicaExport::limits() const noexcept {
    ExportLimits limits;
    limits.minimum_block = 1;
    limits.preferred_block = kBlockUnit;
    return limits;
}

ReplicaExport::Task& ReplicaExport::take_task(ExportRequest& request) noexcept {
    if (idle_.empty()) {
        tasks_.push_back(std::make_unique<Task>(*this));
        idle_.push_back(tasks_.back().get());
    }
    Task& task = *idle_.back();
    idle_.pop_back();
    task.begin(request);
    return task;
}

void ReplicaExport::submit(ExportRequest& request) noexcept {
    Task& task = take_task(request);
    const auto finish_later = [&](Status status) {
        loop_.post([this, &task, status] { finish(task, status); });
    };
    if (!replica_.is_serving()) {
        finish_later(Status(Code::refused));
        return;
    }
    switch (request.kind) {
        case ExportRequestKind::read:
            volume().read(task.as_read(), request.offset, request.data);
            return;
        case ExportRequestKind::write:
        case ExportRequestKind::zero:
        case ExportRequestKind::trim:
            change(task);
            return;
        case ExportRequestKind::flush:
            sync(task);
            return;
        case ExportRequestKind::cache:
            finish_later(Status());  // O_DIRECT: there is no cache
            return;
        case ExportRequestKind::status:
            request.extents.clear();
            if (request.context == ExportContext::dirty) {
                describe_dirty(request);
                finish_later(Status());
            } else {
                finish_later(describe_allocation(request));
            }
            return;
    }
}

// Zeroes whole blocks.
void ReplicaExport::add_range(Task& task, std::uint64_t begin, std::uint64_t end,
                              std::uint32_t flags) {
    while (begin < end) {
        Op& op = task.add_piece();
        op.kind = OpKind::allocate;
        op.flags = flags | FALLOC_FL_KEEP_SIZE;
        op.offset = begin;
        op.size = std::min(end - begin, kZeroMax);
        begin += op.size;
    }
}

// Part of a block.
void ReplicaExport::add_zeros(Task& task, std::uint64_t begin, std::uint64_t end) {
    if (begin == end) return;
    Op& op = task.add_piece();
    op.offset = begin;
    op.size = end - begin;
    op.data = Bytes(kZeros).first(static_cast<std::size_t>(op.size));
}

void ReplicaExport::change(Task& task) noexcept {
    const ExportRequest& request = *task.request;
    const std::uint64_t begin = request.offset;
    const std::uint64_t end = begin + request.size;
    // Of whole blocks; the volume's last one may be short.
    const std::uint64_t whole_end = end == size() ? end : end / kBlockUnit * kBlockUnit;
    if (request.kind == ExportRequestKind::write) {
        for (std::uint64_t at = begin; at < end;) {
            Op& op = task.add_piece();
            op.offset = at;
            op.size = std::min(end - at, BlockVolume::kWriteMax);
            op.data = request.data.subspan(static_cast<std::size_t>(at - begin),
                                           static_cast<std::size_t>(op.size));
            at += op.size;
        }
    } else if (request.kind == ExportRequestKind::trim) {
        // What is no whole block stays as it is.
        if (up(begin) < whole_end) add_range(task, up(begin), whole_end, FALLOC_FL_PUNCH_HOLE);
    } else if (up(begin) >= whole_end) {
        add_zeros(task, begin, std::min(up(begin), end));
        add_zeros(task, std::min(up(begin), end), end);
    } else {
        add_zeros(task, begin, up(begin));
        add_range(task, up(begin), whole_end,
                  request.no_hole ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
        add_zeros(task, whole_end, end);
    }
    if (!task.has_pieces()) {
        request.fua ? sync(task) : loop_.post([this, &task] { finish(task, Status()); });
        return;
    }
    task.submit_pieces();
}

void ReplicaExport::sync(Task& task) noexcept {
    ClientSync& sync = task.as_sync();
    sync.volume = volume_;
    sync.object = kBlockObject;
    sync.data_only = true;
    replica_.sync(sync);
}

void ReplicaExport::finish(Task& task, Status status) noexcept {
    ExportRequest& request = *task.request;
    idle_.push_back(&task);
    request.on_complete(status);
}

Status ReplicaExport::describe_allocation(ExportRequest& request) noexcept {
    const Result<Fd> fd = volume().data_fd(kBlockObject);
    Vfs& vfs = loop_.vfs();
    const std::uint64_t end = request.offset + request.size;
    for (std::uint64_t at = request.offset;
         at < end && request.extents.size() < request.extents_max;) {
        const Result<std::uint64_t> data = vfs.seek(fd.value(), at, SEEK_DATA);
        if (!data.ok() && !data.status().is_errno(ENXIO)) return data.status();
        std::uint64_t next = data.ok() ? data.value() : end;
        std::uint32_t flags = kExtentHole | kExtentZero;
        if (next == at) {
            flags = 0;
            const Result<std::uint64_t> hole = vfs.seek(fd.value(), at, SEEK_HOLE);
            if (!hole.ok()) return hole.status();
            next = hole.value();
        }
        next = std::min(next, end);
        request.extents.push_back({next - at, flags});
        at = next;
    }
    return Status();
}

void ReplicaExport::describe_dirty(ExportRequest& request) noexcept {
    const DirtyObject* marks = replica_.dirty_map(volume_).find(kBlockObject);
    const std::uint64_t end = request.offset + request.size;
    std::uint64_t at = request.offset;
    const auto add = [&](std::uint64_t to, std::uint32_t flags) {
        to = std::min(to, end);
        if (to <= at || request.extents.size() == request.extents_max) return;
        request.extents.push_back({to - at, flags});
        at = to;
    };
    if (marks != nullptr) {
        for (DirtyRange range = marks->content.first_behind(at);
             range.begin < range.end && at < end; range = marks->content.first_behind(range.end)) {
            add(range.begin, 0);
            add(range.end, kExtentDirty);
            if (request.extents.size() == request.extents_max) return;
        }
    }
    add(end, 0);
}

}  // namespace gemel
