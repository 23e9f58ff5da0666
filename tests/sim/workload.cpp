// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/workload.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/falloc.h>
#include <optional>
#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

namespace {

constexpr std::size_t kFileSizeMax = 48 * 1024;
constexpr std::size_t kSector = 512;
constexpr std::size_t kNamesMax = 12;

struct File {
    ByteBuffer content;
    std::uint32_t mode = 0644;
    std::string colour;  // user.colour; empty: none

    friend bool operator==(const File&, const File&) = default;
};

// What a client's directory holds. Hard links: names with the same file.
struct Tree {
    std::map<std::string, std::shared_ptr<const File>> files;
    std::map<std::string, int> directories;
};

// One change: how the tree looks afterwards, and for a write which bytes may be torn.
struct Change {
    Tree after;
    std::string written;  // name of the file, or empty
    std::size_t begin = 0, end = 0;
};

}  // namespace

void SimOp::on_complete(Status status) noexcept {
    const auto callback = std::exchange(done, nullptr);
    if (callback) callback(status);
}

void SimMount::submit(std::unique_ptr<SimOp> op, std::function<void(Status)> done) {
    GEMEL_ASSERT(is_serving());
    while (!ops_.empty() && ops_.front()->done == nullptr) ops_.pop_front();
    SimOp& sent = *op;
    sent.op.name = sent.name;
    sent.op.new_name = sent.new_name;
    if (!sent.data.empty()) sent.op.data = sent.data;
    sent.done = [this, alive = generation, callback = std::move(done)](Status status) {
        if (alive == generation) callback(status);
    };
    ops_.push_back(std::move(op));
    replica->submit(sent);
}

void SimMount::serve(Replica& served_replica, Loop& served_loop) noexcept {
    ++generation;
    replica = &served_replica;
    loop = &served_loop;
}

void SimMount::abort() noexcept {
    ++generation;
    replica = nullptr;
}

class Workload::Client {
   public:
    Client(Workload& owner, std::string name) : owner_(owner), directory_(std::move(name)) {}

    void schedule() {
        owner_.world_.after(
            Duration::microseconds(static_cast<std::int64_t>(prng().between(100, 4000))),
            [this] { act(); });
    }
    [[nodiscard]] bool is_idle() const noexcept { return !waiting_; }
    void verify(SimMount& mount) {
        if (made_ || change_) look(mount);
    }

   private:
    Prng& prng() { return owner_.world_.prng(); }

    void act() {
        SimMount* mount = owner_.serving_();
        if (waiting_) {
            // The mount that had the op is gone: nobody will ever say what became of it.
            if (mount_ != nullptr && mount_->generation == generation_) {
                schedule();
                return;
            }
            waiting_ = false;
            ++owner_.uncertain_;
        }
        if (owner_.stopped_) return;
        if (mount != nullptr) {
            // Inside the process, which may die at any of the calls that this makes.
            mount->loop->post([this, mount, alive = mount->generation] {
                // A deposed node may answer reads until it notices (a paused one that wakes up):
                // what it shows then is judged by nobody.
                const bool stale = mount != owner_.serving_();
                if (!waiting_ && !stale && mount->generation == alive) work(*mount);
            });
        }
        schedule();
    }

    void work(SimMount& mount) {
        if (change_ && !look(mount)) return;
        if (!owner_.stopped_) begin(mount);
    }

    // --- Doing ---------------------------------------------------------------------------------

    void begin(SimMount& mount) {
        auto op = std::make_unique<SimOp>();
        Change change{tree_, {}, 0, 0};
        if (!made_) {
            make(*op, kRootObject, directory_, S_IFDIR | 0755);
        } else if (!choose(mount, *op, change)) {
            return;
        }
        waiting_ = true;
        begun_ = owner_.world_.now();
        mount_ = &mount;
        generation_ = mount.generation;
        change_ = std::move(change);
        mount.submit(std::move(op),
                     [this, sent_to = &mount](Status status) { finished(*sent_to, status); });
    }

    void finished(SimMount& mount, Status status) {
        waiting_ = false;
        if (status.ok()) {
            owner_.note_acknowledgement(mount, begun_);
            tree_ = std::move(change_->after);
            change_.reset();
            made_ = true;
        } else if (status.is_errno(ENOSPC) || status.is_errno(EEXIST)) {
            // A definite refusal; the first directory may be there from an unknown outcome.
            if (status.is_errno(EEXIST) && made_) owner_.fail_("EEXIST for a name nobody made");
            made_ = made_ || status.is_errno(EEXIST);
            change_.reset();
        } else {
            ++owner_.uncertain_;
        }
    }

    static void make(SimOp& op, ObjectId parent, const std::string& name, std::uint32_t mode) {
        op.op.kind = OpKind::create;
        op.op.parent = parent;
        op.name = name;
        op.op.mode = mode;
    }

    std::optional<ObjectId> id_of(SimMount& mount, ObjectId parent, const std::string& name) {
        const Result<Attributes> found = mount.replica->volume(0).lookup(parent, name);
        if (found.ok()) return found->id;
        // A killed process answers cancelled; everything else is a loss.
        if (found.status().code() != Code::cancelled) {
            owner_.fail_(directory_ + '/' + name +
                         " can't be found: " + found.status().to_string());
        }
        return std::nullopt;
    }

    // Chooses and fills in a random change. False: not now.
    bool choose(SimMount& mount, SimOp& op, Change& change) {
        const std::optional<ObjectId> own = id_of(mount, kRootObject, directory_);
        if (!own) return false;
        const bool room = tree_.files.size() + tree_.directories.size() < kNamesMax;
        if (tree_.files.empty() || (room && prng().one_in(5))) return create(op, change, *own);
        auto chosen = tree_.files.begin();
        std::advance(chosen, static_cast<long>(prng().below(tree_.files.size())));
        const std::string name = chosen->first;
        switch (prng().below(11)) {
            case 0:
                return unlink(op, change, *own, name);
            case 1:
                return rename(op, change, *own, name);
            case 2:
                return link(mount, op, change, *own, name);
            case 3:
                return directory(op, change, *own);
            default:
                break;
        }
        const std::optional<ObjectId> id = id_of(mount, *own, name);
        if (!id) return false;
        op.op.object = *id;
        File file = *chosen->second;
        edit(op, change, name, file);
        replace(change.after, chosen->second, file);
        return true;
    }

    // Every name of the old file has the new content.
    static void replace(Tree& tree, const std::shared_ptr<const File>& old, const File& file) {
        const auto changed = std::make_shared<const File>(file);
        for (auto& [name, known] : tree.files) {
            if (known == old) known = changed;
        }
    }

    std::string fresh_name() { return "n" + std::to_string(++names_made_); }

    bool create(SimOp& op, Change& change, ObjectId own) {
        const std::string name = fresh_name();
        make(op, own, name, S_IFREG | 0644);
        change.after.files[name] = std::make_shared<const File>();
        return true;
    }

    bool unlink(SimOp& op, Change& change, ObjectId own, const std::string& name) {
        op.op.kind = OpKind::unlink;
        op.op.parent = own;
        op.name = name;
        change.after.files.erase(name);
        return true;
    }

    bool rename(SimOp& op, Change& change, ObjectId own, const std::string& name) {
        op.op.kind = OpKind::rename;
        op.op.parent = op.op.new_parent = own;
        op.name = name;
        op.new_name = fresh_name();
        if (tree_.files.size() > 1 && prng().one_in(2)) op.new_name = tree_.files.rbegin()->first;
        const std::shared_ptr<const File> file = tree_.files.at(name);
        const auto replaced = tree_.files.find(op.new_name);
        // Renaming one link of a file over another of its own does nothing at all.
        if (replaced != tree_.files.end() && replaced->second == file) return false;
        change.after.files.erase(name);
        change.after.files[op.new_name] = file;
        return true;
    }

    bool link(SimMount& mount, SimOp& op, Change& change, ObjectId own, const std::string& name) {
        const std::optional<ObjectId> id = id_of(mount, own, name);
        if (!id || tree_.files.size() >= kNamesMax) return false;
        op.op.kind = OpKind::link;
        op.op.object = *id;
        op.op.parent = own;
        op.name = fresh_name();
        change.after.files[op.name] = tree_.files.at(name);
        return true;
    }

    bool directory(SimOp& op, Change& change, ObjectId own) {
        if (!tree_.directories.empty() && prng().one_in(2)) {
            op.op.kind = OpKind::remove_directory;
            op.op.parent = own;
            op.name = tree_.directories.begin()->first;
            change.after.directories.erase(op.name);
            return true;
        }
        if (tree_.directories.size() > 3) return false;
        const std::string name = fresh_name();
        make(op, own, name, S_IFDIR | 0755);
        change.after.directories[name] = 1;
        return true;
    }

    void edit(SimOp& op, Change& change, const std::string& name, File& file) {
        switch (prng().below(8)) {
            case 0:
                op.op.kind = OpKind::truncate;
                op.op.size = prng().below(kFileSizeMax);
                file.content.resize(op.op.size);
                return;
            case 1:
                op.op.kind = OpKind::set_attributes;
                op.op.mask = kSetMode;
                op.op.mode = file.mode = static_cast<std::uint32_t>(prng().below(01000));
                return;
            case 2:
                op.op.kind = OpKind::set_xattr;
                op.name = "user.colour";
                file.colour = std::to_string(prng().below(1000));
                op.data.assign(as_bytes(file.colour).begin(), as_bytes(file.colour).end());
                return;
            case 3:
                if (!file.content.empty()) {
                    punch(op, file);
                    return;
                }
                [[fallthrough]];
            default:
                write(op, change, name, file);
                return;
        }
    }

    void punch(SimOp& op, File& file) {
        op.op.kind = OpKind::allocate;
        op.op.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        op.op.offset = prng().below(file.content.size());
        op.op.size = prng().between(1, 16 * 1024);
        const std::size_t end = std::min(file.content.size(), op.op.offset + op.op.size);
        std::fill(file.content.begin() + static_cast<long>(op.op.offset),
                  file.content.begin() + static_cast<long>(end), std::byte{0});
    }

    void write(SimOp& op, Change& change, const std::string& name, File& file) {
        op.op.kind = OpKind::write;
        op.op.offset =
            prng().one_in(2) ? file.content.size() % kFileSizeMax : prng().below(kFileSizeMax);
        op.op.size = prng().between(1, 9000);
        op.data.resize(op.op.size);
        for (std::byte& byte : op.data) byte = static_cast<std::byte>(prng().next());
        change.written = name;
        change.begin = op.op.offset;
        change.end = op.op.offset + op.op.size;
        if (file.content.size() < change.end) file.content.resize(change.end);
        std::copy(op.data.begin(), op.data.end(),
                  file.content.begin() + static_cast<long>(change.begin));
    }

    // --- Looking -------------------------------------------------------------------------------

    // Compares what is there with what may be, and goes on from what is there. False: the process
    // died meanwhile.
    bool look(SimMount& mount) {
        const Result<Attributes> own = mount.replica->volume(0).lookup(kRootObject, directory_);
        if (!own.ok()) {
            if (own.status().code() == Code::cancelled) return false;
            if (made_) owner_.fail_(directory_ + " is gone: " + own.status().to_string());
            change_.reset();
            return !made_;
        }
        Tree seen;
        if (!read_tree(mount, own->id, seen)) return false;
        std::string why;
        if (equal(seen, tree_, why)) {
            change_.reset();
        } else if (change_ && (equal(seen, change_->after, why) || torn(seen, why))) {
            change_.reset();
        } else {
            owner_.fail_(directory_ + " at " + mount.node + ": " + why);
            return false;
        }
        made_ = true;
        tree_ = std::move(seen);
        return true;
    }

    bool read_tree(SimMount& mount, ObjectId own, Tree& seen) {
        DirectoryVolume& volume = mount.replica->volume(0);
        std::vector<ListedEntry> entries;
        std::map<std::uint64_t, std::shared_ptr<const File>> files;
        for (std::uint64_t position = 0;;) {
            const std::size_t before = entries.size();
            if (!volume.list(own, position, 100, entries).ok()) return false;
            if (entries.size() == before) break;
            position = entries.back().next;
        }
        for (const ListedEntry& entry : entries) {
            if (S_ISDIR(entry.mode)) {
                seen.directories[entry.name] = 1;
                continue;
            }
            std::shared_ptr<const File>& file = files[entry.id.value];
            if (file == nullptr) {
                File read;
                if (!read_file(mount, entry.id, read)) return false;
                file = std::make_shared<const File>(std::move(read));
            }
            seen.files[entry.name] = file;
        }
        return true;
    }

    static bool read_file(SimMount& mount, ObjectId id, File& file) {
        DirectoryVolume& volume = mount.replica->volume(0);
        const Result<Attributes> attributes = volume.attributes(id);
        const Result<Fd> fd = volume.data_fd(id);
        if (!attributes.ok() || !fd.ok()) return false;
        file.mode = attributes->stat.mode & 07777;
        file.content.resize(attributes->stat.size);
        std::size_t done = 0;
        while (done < file.content.size()) {
            const Result<std::size_t> read =
                mount.loop->vfs().pread(fd.value(), MutableBytes(file.content).subspan(done), done);
            if (!read.ok() || read.value() == 0) return false;
            done += read.value();
        }
        std::array<std::byte, 64> value{};
        const Result<std::size_t> colour = volume.get_xattr(id, "user.colour", value);
        if (colour.ok()) file.colour = as_text(Bytes(value).first(colour.value()));
        return true;
    }

    static bool equal(const Tree& seen, const Tree& expected, std::string& why) {
        const auto name_of = [](const auto& entry) { return entry.first; };
        std::vector<std::string> a, b;
        std::transform(seen.files.begin(), seen.files.end(), std::back_inserter(a), name_of);
        std::transform(expected.files.begin(), expected.files.end(), std::back_inserter(b),
                       name_of);
        if (a != b || seen.directories != expected.directories) {
            why = "other names than acknowledged: " + list_of(a) + "instead of " + list_of(b);
            return false;
        }
        for (const auto& [name, file] : seen.files) {
            const File& wanted = *expected.files.at(name);
            if (*file == wanted) continue;
            why = name + " is not what was acknowledged" + describe(*file, wanted);
            return false;
        }
        return true;
    }

    static std::string list_of(const std::vector<std::string>& names) {
        std::string text;
        for (const std::string& name : names) text += name + ' ';
        return text;
    }

    static std::string describe(const File& seen, const File& wanted) {
        if (seen.content.size() != wanted.content.size()) {
            return ": size " + std::to_string(seen.content.size()) + " instead of " +
                   std::to_string(wanted.content.size());
        }
        const auto at =
            std::mismatch(seen.content.begin(), seen.content.end(), wanted.content.begin());
        if (at.first != seen.content.end()) {
            return ": content at " + std::to_string(at.first - seen.content.begin());
        }
        return ": attributes";
    }

    // A write that nobody acknowledged may have been carried out in part: then each sector of its
    // range is the old or the new one, and everything else is as before.
    bool torn(const Tree& seen, std::string& why) {
        if (change_->written.empty() || seen.files.count(change_->written) == 0) return false;
        const File& there = *seen.files.at(change_->written);
        const File& before = *tree_.files.at(change_->written);
        const File& after = *change_->after.files.at(change_->written);
        const std::size_t size = there.content.size();
        if (size < before.content.size() || size > after.content.size()) return false;
        for (std::size_t at = 0; at < size; at += kSector) {
            const std::size_t end = std::min(size, at + kSector);
            if (!same(there, before, at, end) && !same(there, after, at, end)) {
                why += "; a sector that is neither old nor new";
                return false;
            }
        }
        Tree repaired = tree_;
        replace(repaired, tree_.files.at(change_->written), there);
        return equal(seen, repaired, why);
    }

    static bool same(const File& one, const File& two, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const std::byte other = i < two.content.size() ? two.content[i] : std::byte{0};
            if (one.content[i] != other) return false;
        }
        return true;
    }

    Workload& owner_;
    std::string directory_;
    Tree tree_;                     // acknowledged, or seen since
    std::optional<Change> change_;  // on its way, or of unknown outcome
    SimMount* mount_ = nullptr;
    std::uint64_t generation_ = 0;
    Instant begun_;  // the op on its way
    std::uint64_t names_made_ = 0;
    bool made_ = false;
    bool waiting_ = false;
};

Workload::Workload(World& world, const Options& options, std::function<SimMount*()> serving,
                   std::function<void(const std::string&)> fail)
    : world_(world), serving_(std::move(serving)), fail_(std::move(fail)) {
    for (std::size_t i = 0; i < options.clients; ++i) {
        clients_.push_back(std::make_unique<Client>(*this, "client" + std::to_string(i)));
    }
}

Workload::~Workload() = default;

void Workload::start() {
    for (const auto& client : clients_) client->schedule();
}

bool Workload::is_idle() const noexcept {
    return std::all_of(clients_.begin(), clients_.end(),
                       [](const auto& client) { return client->is_idle(); });
}

void Workload::verify_all(SimMount& mount) {
    for (const auto& client : clients_) client->verify(mount);
}

void Workload::note_acknowledgement(const SimMount& mount, Instant begun) {
    ++acknowledged_;
    const std::uint64_t epoch = mount.epoch();
    if (epoch > newest_epoch_) {
        newest_epoch_ = epoch;
        newest_since_ = world_.now();
    }
    // An op that the next serving node had acknowledged before it took over may be answered late,
    // by a node that was paused; one that was begun afterwards never.
    if (epoch < newest_epoch_ && begun > newest_since_) {
        fail_(mount.node + " acknowledged in epoch " + std::to_string(epoch) +
              " what was begun after epoch " + std::to_string(newest_epoch_) +
              " had begun elsewhere");
    }
}

}  // namespace gemel::sim
