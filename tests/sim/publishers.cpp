// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/publishers.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

namespace {

constexpr std::size_t kPiece = 40'000;

// Its length and every byte follow from the head.
std::string version(const std::string& node, const std::string& name, std::uint64_t number) {
    std::string text = node + " " + name + " " + std::to_string(number) + "\n";
    std::uint64_t state = number * 0x9E3779B97F4A7C15ULL + static_cast<unsigned char>(name.back());
    const std::size_t size = text.size() + (state >> 20) % 150'000;
    while (text.size() < size) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        text.push_back(static_cast<char>('a' + (state >> 60)));
    }
    return text;
}

}  // namespace

class Publishers::Publisher {
   public:
    Publisher(Publishers& owner, std::string name)
        : owner_(owner), name_(std::move(name)), kept_(name_ + ".tmp") {}

    void schedule() {
        const auto pause = static_cast<std::int64_t>(owner_.world_.prng().between(1000, 20'000));
        owner_.world_.after(Duration::microseconds(pause), [this] { act(); });
    }
    [[nodiscard]] bool is_idle() const noexcept { return !waiting_; }

    void look(SimMount& mount) {
        const Result<Attributes> found = mount.replica->directory(0).lookup(kRootObject, name_);
        if (found.status().code() == Code::cancelled) return;
        std::string seen;
        if (found.ok()) {
            if (!read(mount, found->id, found->stat.size, seen)) return;
        } else if (!found.status().is_errno(ENOENT)) {
            return owner_.fail_(name_ + " can't be read: " + found.status().to_string());
        }
        if (seen != acknowledged_ && (!unknown_ || seen != attempted_)) {
            return owner_.fail_(name_ + " holds '" + seen.substr(0, seen.find('\n')) + "', " +
                                std::to_string(seen.size()) +
                                " bytes, not what was acknowledged: '" +
                                acknowledged_.substr(0, acknowledged_.find('\n')) + "'");
        }
        acknowledged_ = seen;
        unknown_ = false;
        looked_ = mount.generation;
    }

   private:
    enum class Step : std::uint8_t { clear, create, write, sync, rename };

    static bool read(SimMount& mount, ObjectId id, std::uint64_t size, std::string& text) {
        const Result<Fd> file = mount.replica->directory(0).data_fd(id);
        if (!file.ok()) return false;
        text.resize(size);
        const MutableBytes buffer(reinterpret_cast<std::byte*>(text.data()), text.size());
        const Result<std::size_t> got = mount.loop->vfs().pread(file.value(), buffer, 0);
        return got.ok() && got.value() == size;
    }

    void act() {
        SimMount* mount = owner_.serving_();
        if (waiting_) {
            if (mount_->generation == generation_) return schedule();
            waiting_ = false;  // nobody will ever say what became of it
        }
        if (owner_.stopped_) return;
        if (mount != nullptr) {
            mount->loop->post([this, mount, alive = mount->generation] {
                const bool stale = mount != owner_.serving_();
                if (waiting_ || stale || mount->generation != alive || owner_.stopped_) return;
                if (looked_ != mount->generation || unknown_) look(*mount);
                if (looked_ != mount->generation) return;
                if (mount_ != mount || generation_ != mount->generation) step_ = Step::clear;
                go_on(*mount);
            });
        }
        schedule();
    }

    void go_on(SimMount& mount) {
        waiting_ = true;
        mount_ = &mount;
        generation_ = mount.generation;
        if (step_ == Step::sync) {
            mount.sync(object_, [this](Status status) { finished(status, kNoObject); });
            return;
        }
        auto op = std::make_unique<SimOp>();
        fill(*op);
        SimOp& sent = *op;
        mount.submit(std::move(op),
                     [this, &sent](Status status) { finished(status, sent.op.object); });
    }

    void fill(SimOp& op) {
        op.op.parent = kRootObject;
        op.name = kept_;
        switch (step_) {
            case Step::clear:
                op.op.kind = OpKind::unlink;
                return;
            case Step::create:
                op.op.kind = OpKind::create;
                op.op.mode = S_IFREG | 0644;
                attempted_ = version(mount_->node, name_, ++number_);
                written_ = 0;
                return;
            case Step::write: {
                const std::size_t size = std::min(kPiece, attempted_.size() - written_);
                op.op.kind = OpKind::write;
                op.op.parent = {};
                op.name.clear();
                op.op.object = object_;
                op.op.offset = written_;
                op.op.size = size;
                const Bytes piece = as_bytes(attempted_).subspan(written_, size);
                op.data.assign(piece.begin(), piece.end());
                return;
            }
            case Step::rename:
                op.op.kind = OpKind::rename;
                op.op.new_parent = kRootObject;
                op.new_name = name_;
                unknown_ = true;
                return;
            case Step::sync:
                return;
        }
    }

    void finished(Status status, ObjectId object) {
        waiting_ = false;
        switch (step_) {
            case Step::clear:
                if (status.ok() || status.is_errno(ENOENT)) step_ = Step::create;
                return;
            case Step::create:
                object_ = object;
                step_ = status.ok() ? Step::write : Step::clear;
                return;
            case Step::write:
                if (!status.ok()) {
                    step_ = Step::clear;
                    return;
                }
                written_ += std::min(kPiece, attempted_.size() - written_);
                if (written_ < attempted_.size()) return;
                step_ = owner_.world_.prng().one_in(2) ? Step::sync : Step::rename;
                return;
            case Step::sync:
                step_ = status.ok() ? Step::rename : Step::clear;
                return;
            case Step::rename:
                step_ = Step::clear;
                if (!status.ok()) return;
                acknowledged_ = attempted_;
                unknown_ = false;
                ++owner_.acknowledged_;
                return;
        }
    }

    Publishers& owner_;
    std::string name_, kept_;
    std::string acknowledged_;  // or seen since; empty: there is none yet
    std::string attempted_;     // being written
    bool unknown_ = false;      // whether the attempted version has been published is not known
    Step step_ = Step::clear;
    ObjectId object_;
    std::size_t written_ = 0;
    std::uint64_t number_ = 0;
    SimMount* mount_ = nullptr;
    std::uint64_t generation_ = 0;
    std::uint64_t looked_ = 0;  // generation of the mount through which it has looked
    bool waiting_ = false;
};

Publishers::Publishers(World& world, std::size_t count, std::function<SimMount*()> serving,
                       std::function<void(const std::string&)> fail)
    : world_(world), serving_(std::move(serving)), fail_(std::move(fail)) {
    for (std::size_t i = 0; i < count; ++i) {
        publishers_.push_back(std::make_unique<Publisher>(*this, "published" + std::to_string(i)));
    }
}

Publishers::~Publishers() = default;

void Publishers::start() {
    for (const auto& publisher : publishers_) publisher->schedule();
}

bool Publishers::is_idle() const noexcept {
    return std::all_of(publishers_.begin(), publishers_.end(),
                       [](const auto& publisher) { return publisher->is_idle(); });
}

void Publishers::verify_all(SimMount& mount) {
    for (const auto& publisher : publishers_) publisher->look(mount);
}

void Publishers::verify_kept(FileSystem& disk, const std::string& node) {
    for (std::size_t i = 0; i < publishers_.size(); ++i) {
        const std::string name = "published" + std::to_string(i) + ".tmp";
        const Result<Inode*> found = disk.lookup(disk.root(), name);
        if (!found.ok()) continue;
        std::byte head[16];
        const auto got = disk.read(*found.value(), head, 0);
        // What was written and not synced may be gone after a power cut.
        if (!got.ok() || got.value() == 0 || head[0] == std::byte{0}) continue;
        const std::string_view text = as_text(Bytes(head).first(got.value()));
        if (!text.starts_with(node)) fail_(name + " on " + node + " is another node's");
    }
}

}  // namespace gemel::sim
