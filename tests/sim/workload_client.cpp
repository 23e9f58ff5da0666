// SPDX-License-Identifier: Apache-2.0
// What a client does.
#include "tests/sim/workload_client.hpp"

#include <algorithm>
#include <cstring>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

namespace {

constexpr std::size_t kFileSizeMax = 48 * 1024;
constexpr std::size_t kNamesMax = 12;
constexpr std::size_t kPendingMax = 3;

bool is_refusal(Status status) noexcept {
    return status.is_errno(ENOSPC) || status.is_errno(EDQUOT) || status.is_errno(EEXIST);
}

}  // namespace

void Workload::Client::schedule() {
    const std::int64_t pause = static_cast<std::int64_t>(
        prng().between(100'000, static_cast<std::uint64_t>(owner_.options_.pause_max.ns)));
    const Instant next = owner_.world_.now() + Duration{pause};
    owner_.world_.at(std::max(next, owner_.rests_until_), [this] { act(); });
}

void Workload::Client::expect_loss(bool of_anything) {
    may_lose_ = uncertain_ = true;
    if (of_anything) facts_.forget();
}

void Workload::Client::act() {
    SimMount* mount = owner_.serving_();
    if (waiting_ > 0) {
        // The mount that had the ops is gone: nobody will ever say what became of them.
        if (mount_ != nullptr && mount_->generation == generation_) return schedule();
        waiting_ = 0;
        uncertain_ = true;
    }
    if (owner_.stopped_) return;
    if (owner_.rests_until_ > owner_.world_.now()) return schedule();
    if (owner_.logs_ != nullptr && owner_.logs_ != this) return schedule();
    const std::uint64_t every = owner_.options_.rest_every;
    if (every != 0 && prng().one_in(every)) {
        const auto rest_max = static_cast<std::uint64_t>(owner_.options_.rest_max.ns);
        owner_.rests_until_ =
            owner_.world_.now() + Duration{static_cast<std::int64_t>(prng().below(rest_max))};
    }
    if (mount != nullptr) {
        // Inside the process, which may die at any of the calls that this makes.
        mount->loop->post([this, mount, alive = mount->generation] {
            // A deposed node may answer reads until it notices (a paused one that wakes up):
            // what it shows then is judged by nobody.
            const bool stale = mount != owner_.serving_();
            if (waiting_ == 0 && !stale && mount->generation == alive) work(*mount);
        });
    }
    schedule();
}

void Workload::Client::work(SimMount& mount) {
    if (uncertain_ && !look(mount)) return;
    if (owner_.stopped_) return;
    if (log_left_ > 0) {
        log_on(mount);
    } else if (made_ && prng().one_in(10)) {
        begin_sync(mount, tree_.files.empty() || prng().one_in(4) ? std::string() : random_file());
    } else if (begins_log()) {
        log_left_ = prng().between(8, 60);
        log_ = random_file();
        owner_.logs_ = this;
        log_on(mount);
    } else {
        begin(mount);
    }
}

// --- A log ---------------------------------------------------------------------------------------

bool Workload::Client::begins_log() {
    const std::uint64_t every = owner_.options_.log_every;
    return every != 0 && prng().one_in(every) && !tree_.files.empty() && !owner_.clears_away_;
}

// A record and its sync in turns, and now and then something else, which nobody can foresee.
void Workload::Client::log_on(SimMount& mount) {
    if (--log_left_ == 0) owner_.logs_ = nullptr;
    if (owner_.clears_away_ || !tree_.files.contains(log_)) {
        log_left_ = 0;
        owner_.logs_ = nullptr;
        return;
    }
    const bool is_record = std::exchange(record_is_next_, !record_is_next_);
    if (prng().one_in(12)) return begin(mount);
    if (!is_record) return begin_sync(mount, log_);
    begun_ = owner_.world_.now();
    mount_ = &mount;
    generation_ = mount.generation;
    const std::optional<ObjectId> own = id_of(mount, kRootObject, directory_);
    if (own) submit(mount, *own, random_write(*tree_.files.at(log_), log_));
}

// --- Ops -----------------------------------------------------------------------------------------

void Workload::Client::begin(SimMount& mount) {
    GEMEL_ASSERT(pending_.empty());
    begun_ = owner_.world_.now();
    mount_ = &mount;
    generation_ = mount.generation;
    if (!made_) {
        Change change;
        change.kind = Change::Kind::make_own;
        return submit(mount, kRootObject, std::move(change));
    }
    const std::optional<ObjectId> own = id_of(mount, kRootObject, directory_);
    if (!own) return;
    std::optional<Change> change = owner_.clears_away_ ? removal() : random_change();
    if (change) return submit(mount, *own, std::move(*change));
    if (tree_.files.empty() || owner_.clears_away_) return;
    // Several at once on one file: their order shows.
    Tree working = tree_;
    const std::string name = random_file();
    const std::uint64_t count = prng().one_in(3) ? prng().between(2, kPendingMax) : 1;
    for (std::uint64_t i = 0; i < count && mount.generation == generation_; ++i) {
        Change edit = random_edit(working, name);
        edit.apply(working);
        submit(mount, *own, std::move(edit));
        if (uncertain_) return;
    }
}

void Workload::Client::submit(SimMount& mount, ObjectId own, Change change) {
    auto op = std::make_unique<SimOp>();
    if (!fill(mount, own, change, *op)) return;
    facts_.touch(tree_, change);
    const std::uint64_t number = next_number_++;
    pending_.push_back({number, std::move(change)});
    ++waiting_;
    const SimOp* sent = op.get();
    mount.submit(std::move(op), [this, number, sent, to = &mount](Status status) {
        finished(*to, number, status, sent->op.size);
    });
}

void Workload::Client::finished(SimMount& mount, std::uint64_t number, Status status,
                                std::uint64_t size) {
    --waiting_;
    const auto pending = std::find_if(pending_.begin(), pending_.end(),
                                      [&](const Pending& one) { return one.number == number; });
    GEMEL_ASSERT(pending != pending_.end());
    Change& change = pending->change;
    if (status.ok()) {
        owner_.note_acknowledgement(mount, begun_);
        if (change.kind == Change::Kind::write) change.shorten(size);
        change.is_acknowledged = true;
    } else if (is_refusal(status)) {
        // The first directory may be there from an unknown outcome.
        const bool exists = status.is_errno(EEXIST);
        if (exists && made_) owner_.fail_("EEXIST for a name nobody made");
        if (exists) made_ = true;
        if (!exists) ++owner_.refused_;
        pending_.erase(pending);
    } else {
        ++owner_.failed_;
        uncertain_ = true;
    }
    settle();
}

// What was acknowledged without a gap before it is how things are.
void Workload::Client::settle() {
    while (!pending_.empty() && pending_.front().change.is_acknowledged) {
        const Change& change = pending_.front().change;
        if (change.kind == Change::Kind::make_own) made_ = true;
        change.apply(tree_);
        pending_.pop_front();
    }
}

// Of one file, or of everything.
void Workload::Client::begin_sync(SimMount& mount, const std::string& name) {
    ObjectId object;
    if (!name.empty()) {
        const std::optional<ObjectId> own = id_of(mount, kRootObject, directory_);
        const std::optional<ObjectId> id = own ? id_of(mount, *own, name) : own;
        if (!id) return;
        object = *id;
    }
    mount_ = &mount;
    generation_ = mount.generation;
    ++waiting_;
    mount.sync(object, [this, name, to = &mount](Status status) {
        --waiting_;
        if (!status.ok()) {
            ++owner_.failed_;
            uncertain_ = true;
            return;
        }
        // Lost meanwhile, and not looked at since: the tree is not what was synced.
        if (may_lose_) return;
        owner_.note_epoch(*to);
        ++owner_.synced_;
        name.empty() ? facts_.note_all(tree_) : facts_.note_file(tree_, name);
    });
}

std::optional<ObjectId> Workload::Client::id_of(SimMount& mount, ObjectId parent,
                                                const std::string& name) {
    const Result<Attributes> found = mount.replica->directory(0).lookup(parent, name);
    if (found.ok()) return found->id;
    if (!excuses(mount, found.status())) {
        owner_.fail_(directory_ + '/' + name + " can't be found: " + found.status().to_string());
    }
    return std::nullopt;
}

bool Workload::Client::fill(SimMount& mount, ObjectId own, const Change& change, SimOp& op) {
    using Kind = Change::Kind;
    op.name = change.kind == Kind::make_own ? directory_ : change.name;
    op.op.parent = op.op.new_parent = own;
    op.op.offset = change.offset;
    op.op.size = change.size;
    switch (change.kind) {
        case Kind::make_own:
        case Kind::make_directory:
        case Kind::create:
            op.op.kind = OpKind::create;
            op.op.mode = change.kind == Kind::create ? S_IFREG | 0644U : S_IFDIR | 0755U;
            return true;
        case Kind::unlink:
            op.op.kind = OpKind::unlink;
            return true;
        case Kind::remove_directory:
            op.op.kind = OpKind::remove_directory;
            return true;
        case Kind::rename:
            op.op.kind = OpKind::rename;
            op.new_name = change.target;
            return true;
        default:
            break;
    }
    const std::optional<ObjectId> id = id_of(mount, own, change.name);
    if (!id) return false;
    op.op.object = *id;
    op.name.clear();
    switch (change.kind) {
        case Kind::link:
            op.op.kind = OpKind::link;
            op.name = change.target;
            return true;
        case Kind::truncate:
            op.op.kind = OpKind::truncate;
            return true;
        case Kind::set_mode:
            op.op.kind = OpKind::set_attributes;
            op.op.mask = kSetMode;
            op.op.mode = change.mode;
            return true;
        case Kind::set_colour:
            op.op.kind = OpKind::set_xattr;
            op.name = "user.colour";
            op.data.assign(as_bytes(change.colour).begin(), as_bytes(change.colour).end());
            return true;
        case Kind::punch:
            op.op.kind = OpKind::allocate;
            op.op.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
            return true;
        default:
            op.op.kind = OpKind::write;
            op.data = change.data;
            return true;
    }
}

// --- Choosing ------------------------------------------------------------------------------------

std::string Workload::Client::random_file() {
    auto chosen = tree_.files.begin();
    std::advance(chosen, static_cast<long>(prng().below(tree_.files.size())));
    return chosen->first;
}

// A change of names; nothing: something else is to be done.
std::optional<Change> Workload::Client::random_change() {
    const bool room = tree_.files.size() + tree_.directories.size() < kNamesMax;
    Change change;
    if (tree_.files.empty() || (room && prng().one_in(5))) {
        change.kind = Change::Kind::create;
        change.name = fresh_name();
        return change;
    }
    const std::string name = random_file();
    switch (prng().below(11)) {
        case 0:
            change.kind = Change::Kind::unlink;
            change.name = name;
            return change;
        case 1:
            return random_rename(name);
        case 2:
            if (!room) return std::nullopt;
            change.kind = Change::Kind::link;
            change.name = name;
            change.target = fresh_name();
            return change;
        case 3:
            return random_directory();
        default:
            return std::nullopt;
    }
}

std::optional<Change> Workload::Client::removal() const {
    Change change;
    if (!tree_.files.empty()) {
        change.kind = Change::Kind::unlink;
        change.name = tree_.files.begin()->first;
    } else if (!tree_.directories.empty()) {
        change.kind = Change::Kind::remove_directory;
        change.name = *tree_.directories.begin();
    } else {
        return std::nullopt;
    }
    return change;
}

std::optional<Change> Workload::Client::random_rename(const std::string& name) {
    Change change;
    change.kind = Change::Kind::rename;
    change.name = name;
    change.target = fresh_name();
    if (tree_.files.size() > 1 && prng().one_in(2)) change.target = tree_.files.rbegin()->first;
    const auto replaced = tree_.files.find(change.target);
    // Renaming one link of a file over another of its own does nothing at all.
    if (replaced != tree_.files.end() && replaced->second == tree_.files.at(name)) {
        return std::nullopt;
    }
    return change;
}

std::optional<Change> Workload::Client::random_directory() {
    Change change;
    if (!tree_.directories.empty() && prng().one_in(2)) {
        change.kind = Change::Kind::remove_directory;
        change.name = *tree_.directories.begin();
        return change;
    }
    if (tree_.directories.size() > 3) return std::nullopt;
    change.kind = Change::Kind::make_directory;
    change.name = fresh_name();
    return change;
}

Change Workload::Client::random_edit(const Tree& tree, const std::string& name) {
    const File& file = *tree.files.at(name);
    Change change;
    change.name = name;
    switch (prng().below(8)) {
        case 0:
            change.kind = Change::Kind::truncate;
            change.size = prng().below(kFileSizeMax);
            return change;
        case 1:
            change.kind = Change::Kind::set_mode;
            change.mode = static_cast<std::uint32_t>(prng().below(01000));
            // What it is already is answered without being shipped.
            if (change.mode < 0200) change.mode = file.mode;
            return change;
        case 2:
            change.kind = Change::Kind::set_colour;
            change.colour = std::to_string(prng().below(1000));
            return change;
        case 3:
            if (file.content.empty()) return random_write(file, name);
            change.kind = Change::Kind::punch;
            change.offset = prng().below(file.content.size());
            change.size = prng().between(1, 16 * 1024);
            return change;
        default:
            return random_write(file, name);
    }
}

Change Workload::Client::random_write(const File& file, const std::string& name) {
    Change change;
    change.kind = Change::Kind::write;
    change.name = name;
    change.offset =
        prng().one_in(2) ? file.content.size() % kFileSizeMax : prng().below(kFileSizeMax);
    change.size = prng().between(1, 9000);
    change.data.resize(change.size);
    for (std::size_t i = 0; i < change.data.size(); i += sizeof(std::uint64_t)) {
        const std::uint64_t random = prng().next();
        std::memcpy(&change.data[i], &random, std::min(sizeof random, change.data.size() - i));
    }
    return change;
}

}  // namespace gemel::sim
