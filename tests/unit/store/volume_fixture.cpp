// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/store/volume_fixture.hpp"

#include "engine/io/uring/posix_vfs.hpp"
#include "engine/store/identity.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace gemel::volume_test {

namespace {

// As much of a loop as a volume uses: file system, time, boot id.
class StubLoop final : public Loop {
   public:
    Instant now() const noexcept override { return now_; }
    WallTime wall_time() const noexcept override { return {1'700'000'000, 123'456'789}; }
    Prng& prng() noexcept override { return prng_; }
    void secure_random(MutableBytes) noexcept override { std::abort(); }
    Uuid boot_id() noexcept override { return Uuid{{1, 2, 3}}; }
    Vfs& vfs() noexcept override { return vfs_; }
    Network& network() noexcept override { std::abort(); }
    void post(std::function<void()> task) noexcept override { posted_.push_back(std::move(task)); }
    void run_from_any_thread(std::function<void()>) noexcept override { std::abort(); }
    void offload(Job&) noexcept override { std::abort(); }
    void read(IoOp&, Fd, MutableBytes, std::uint64_t) noexcept override { std::abort(); }
    void write(IoOp&, Fd, Bytes, std::uint64_t) noexcept override { std::abort(); }
    void sync(IoOp&, Fd, bool) noexcept override { std::abort(); }
    void cancel(IoOp&) noexcept override { std::abort(); }

    void pass(Duration time) {
        now_ = now_ + time;
        for (std::size_t i = 0; i < posted_.size(); ++i) {
            const auto task = std::move(posted_[i]);  // may add to posted_
            task();
        }
        posted_.clear();
    }

   protected:
    void start_timer(Timer&, Instant) noexcept override { std::abort(); }
    void cancel_timer(Timer&) noexcept override { std::abort(); }

   private:
    PosixVfs vfs_;
    Prng prng_{1};
    Instant now_;
    std::vector<std::function<void()>> posted_;
};

class PosixWorld final : public TestWorld {
   public:
    PosixWorld() {
        const char* base = std::getenv("TMPDIR");
        std::string path =
            std::string(base != nullptr ? base : "/var/tmp") + "/gemel-volume-XXXXXX";
        if (::mkdtemp(path.data()) != nullptr) directory_ = path;
    }
    ~PosixWorld() override {
        if (directory_.empty()) return;
        const std::string command = "rm -rf '" + directory_ + "'";
        EXPECT_EQ(std::system(command.c_str()), 0);
    }
    Loop& loop() noexcept override { return loop_; }
    std::string directory() const override { return directory_; }
    void pass(Duration time) override { loop_.pass(time); }
    std::string missing() override {
        if (directory_.empty()) return "no temporary directory";
        if (::geteuid() != 0) return "needs root: trusted attributes and file handles";
        const Result<Fd> fd = loop_.vfs().open_directory(directory_);
        if (!fd.ok()) return fd.status().to_string();
        const ScopedFd scoped(loop_.vfs(), fd.value());
        const Status set =
            loop_.vfs().set_xattr(fd.value(), "trusted.gemel-test", as_bytes("1"), 0);
        return set.ok() ? "" : "no trusted attributes here: " + set.to_string();
    }

   private:
    StubLoop loop_;
    std::string directory_;
};

// Reading through it leaves the access time alone.
ScopedFd open_path(Vfs& vfs, const std::string& path) {
    const Result<Fd> plain = vfs.open_directory(path);
    EXPECT_TRUE(plain.ok()) << path << ": " << plain.status().to_string();
    if (!plain.ok()) return {};
    const ScopedFd scoped(vfs, plain.value());
    const Result<Fd> quiet = vfs.open_at(scoped.get(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
    EXPECT_TRUE(quiet.ok()) << path;
    return quiet.ok() ? ScopedFd(vfs, quiet.value()) : ScopedFd();
}

}  // namespace

std::unique_ptr<TestWorld> make_posix_world() { return std::make_unique<PosixWorld>(); }

std::string world_name(const testing::TestParamInfo<WorldKind>& info) { return info.param.name; }

bool operator==(const Seen& a, const Seen& b) {
    const bool timed = a.stat.accessed == b.stat.accessed && a.stat.modified == b.stat.modified;
    return timed && a.stat.mode == b.stat.mode && a.stat.uid == b.stat.uid &&
           a.stat.gid == b.stat.gid && a.stat.link_count == b.stat.link_count &&
           a.stat.special_device == b.stat.special_device && a.target == b.target &&
           (S_ISDIR(a.stat.mode) || a.stat.size == b.stat.size) && a.content == b.content &&
           a.holes == b.holes && a.xattrs == b.xattrs && a.group == b.group;
}

std::string describe(const Seen& seen) {
    char head[256];
    std::snprintf(head, sizeof head,
                  "mode %o uid %u gid %u links %u rdev %lx size %lu mtime %ld.%09u atime %ld.%09u",
                  seen.stat.mode, seen.stat.uid, seen.stat.gid, seen.stat.link_count,
                  seen.stat.special_device, seen.stat.size, seen.stat.modified.seconds,
                  seen.stat.modified.nanoseconds, seen.stat.accessed.seconds,
                  seen.stat.accessed.nanoseconds);
    std::string text = head;
    text += " group " + std::to_string(seen.group) + " target '" + seen.target + "' content " +
            std::to_string(std::hash<std::string>()(seen.content)) + " data";
    for (const std::uint64_t edge : seen.holes) text += " " + std::to_string(edge);
    for (const auto& [name, value] : seen.xattrs) {
        text += " " + name + "=";
        for (const char c : value) {
            char hex[3];
            std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(c));
            text += hex;
        }
    }
    return text;
}

void VolumeTest::SetUp() {
    world_ = GetParam().make();
    if (const std::string missing = world_->missing(); !missing.empty()) GTEST_SKIP() << missing;
    id_ = Uuid{{9, 8, 7, 6}};
    const ScopedFd base = open_path(vfs(), world_->directory());
    for (std::size_t i = 0; i < 2; ++i) {
        const std::string root = i == 0 ? "a" : "b";
        const std::string state = root + "-state";
        ASSERT_TRUE(vfs().make_directory(base.get(), root, 0755).ok());
        ASSERT_TRUE(vfs().make_directory(base.get(), state, 0700).ok());
        sides_[i].root = world_->directory() + "/" + root;
        sides_[i].state = world_->directory() + "/" + state;
    }
    // As a first synchronisation leaves them.
    const ScopedFd first = open_path(vfs(), sides_[0].root);
    const ScopedFd second = open_path(vfs(), sides_[1].root);
    const WallTime time{1'600'000'000, 5};
    for (const ScopedFd* root : {&first, &second}) {
        ASSERT_TRUE(vfs().set_times(root->get(), {true, time}, {true, time}).ok());
    }
    for (std::size_t i = 0; i < 2; ++i) {
        reopen(i);
        ASSERT_NE(sides_[i].volume, nullptr);
    }
}

void VolumeTest::TearDown() {
    for (Side& side : sides_) side.volume.reset();
    world_.reset();
}

Result<std::unique_ptr<DirectoryVolume>> VolumeTest::open(const Side& side, const Uuid& id,
                                                          std::size_t open_files_max) {
    const Result<Fd> root = vfs().open_directory(side.root);
    if (!root.ok()) return root.status();
    DirectoryVolume::Options options;
    options.volume_id = id;
    options.state_directory = side.state;
    options.open_files_max = open_files_max;
    return DirectoryVolume::open(world_->loop(), log_, root.value(), options);
}

void VolumeTest::reopen(std::size_t side) {
    sides_[side].volume.reset();
    Result<std::unique_ptr<DirectoryVolume>> opened = open(sides_[side], id_);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    sides_[side].volume = std::move(opened).value();
    if (side == 0) sides_[0].volume->set_allotment(kTag, kFirstObject.value);
}

Seen VolumeTest::look(Fd parent, const std::string& name, const FileStat& stat) {
    Seen seen;
    seen.stat = stat;
    const Result<Fd> path = vfs().open_at(parent, name, O_PATH, 0);
    EXPECT_TRUE(path.ok()) << name;
    if (!path.ok()) return seen;
    const ScopedFd scoped(vfs(), path.value());
    const Result<std::vector<std::string>> names = vfs().list_xattrs(path.value());
    EXPECT_TRUE(names.ok() || names.status().is_errno(EOPNOTSUPP)) << name;
    for (const std::string& xattr : names.ok() ? names.value() : std::vector<std::string>()) {
        if (xattr == kIdentityAttribute) continue;
        std::array<std::byte, 4096> buffer;
        const Result<std::size_t> size = vfs().get_xattr(path.value(), xattr, buffer);
        EXPECT_TRUE(size.ok()) << xattr;
        if (size.ok()) seen.xattrs[xattr] = as_text(Bytes(buffer).first(size.value()));
    }
    // The id has to be equal too, wherever there is one.
    const Result<Identity> identity = read_identity(vfs(), path.value());
    if (identity.ok()) seen.xattrs["id"] = std::to_string(identity->object.value);
    if (S_ISLNK(stat.mode)) {
        const Result<ByteBuffer> target = vfs().read_link(path.value());
        EXPECT_TRUE(target.ok());
        if (target.ok()) seen.target = as_text(target.value());
        // The next comparison must not see the reading of this one.
        EXPECT_TRUE(vfs().set_times(path.value(), {true, stat.accessed}, {}).ok());
    }
    if (!S_ISREG(stat.mode)) return seen;
    const Result<Fd> data = vfs().open_at(parent, name, O_RDONLY | O_NOATIME, 0);
    EXPECT_TRUE(data.ok()) << name << ": " << data.status().to_string();
    if (!data.ok()) return seen;
    const ScopedFd file(vfs(), data.value());
    seen.content.resize(stat.size);
    const Result<std::size_t> read = vfs().pread(
        file.get(), std::as_writable_bytes(std::span(seen.content.data(), stat.size)), 0);
    EXPECT_TRUE(read.ok() && read.value() == stat.size) << name;
    for (std::uint64_t at = 0; at < stat.size;) {
        const Result<std::uint64_t> begin = vfs().seek(file.get(), at, SEEK_DATA);
        if (!begin.ok()) break;
        const Result<std::uint64_t> end = vfs().seek(file.get(), begin.value(), SEEK_HOLE);
        if (!end.ok()) break;
        seen.holes.push_back(begin.value());
        seen.holes.push_back(end.value());
        at = end.value();
    }
    return seen;
}

void VolumeTest::walk(Fd directory, const std::string& prefix,
                      std::map<std::uint64_t, std::uint64_t>& groups, Tree& out) {
    std::vector<DirectoryEntry> entries;
    for (std::uint64_t position = 0;;) {
        const std::size_t before = entries.size();
        ASSERT_TRUE(vfs().read_directory(directory, position, 100, entries).ok());
        if (entries.size() == before) break;
        position = entries.back().next;
    }
    std::sort(entries.begin(), entries.end(),
              [](const DirectoryEntry& x, const DirectoryEntry& y) { return x.name < y.name; });
    for (const DirectoryEntry& entry : entries) {
        if (prefix.empty() && entry.name == ".gemel") continue;
        const Result<FileStat> stat = vfs().stat_at(directory, entry.name);
        ASSERT_TRUE(stat.ok()) << prefix << entry.name;
        Seen seen = look(directory, entry.name, stat.value());
        const auto group = groups.try_emplace(stat->inode, groups.size());
        seen.group = group.first->second;
        out[prefix + entry.name] = std::move(seen);
        if (!S_ISDIR(stat->mode)) continue;
        const Result<Fd> child =
            vfs().open_at(directory, entry.name, O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
        ASSERT_TRUE(child.ok());
        const ScopedFd scoped(vfs(), child.value());
        walk(child.value(), prefix + entry.name + "/", groups, out);
    }
}

Tree VolumeTest::tree(std::size_t side) {
    Tree out;
    const ScopedFd root = open_path(vfs(), sides_[side].root);
    std::map<std::uint64_t, std::uint64_t> groups;
    const Result<FileStat> stat = vfs().stat(root.get());
    EXPECT_TRUE(stat.ok());
    if (!stat.ok()) return out;
    out["."] = look(root.get(), ".", stat.value());
    walk(root.get(), "", groups, out);
    return out;
}

std::vector<std::string> VolumeTest::private_names(std::size_t side, std::string_view directory) {
    const ScopedFd fd = open_path(vfs(), sides_[side].root + "/.gemel/" + std::string(directory));
    std::vector<DirectoryEntry> entries;
    EXPECT_TRUE(vfs().read_directory(fd.get(), 0, 1000, entries).ok());
    std::vector<std::string> names;
    for (const DirectoryEntry& entry : entries) names.push_back(entry.name);
    return names;
}

void VolumeTest::expect_equal_trees() {
    const Tree first = tree(0);
    const Tree second = tree(1);
    for (const auto& [path, seen] : first) {
        const auto other = second.find(path);
        if (other == second.end()) {
            ADD_FAILURE() << "only on a: " << path;
        } else if (!(seen == other->second)) {
            ADD_FAILURE() << path << "\n a: " << describe(seen)
                          << "\n b: " << describe(other->second);
        }
    }
    for (const auto& [path, seen] : second) {
        if (!first.contains(path)) ADD_FAILURE() << "only on b: " << path;
    }
}

Op VolumeTest::op(OpKind kind) {
    Op result;
    result.kind = kind;
    return result;
}

Status VolumeTest::both(Op& op) {
    const Status executed = a().execute(op);
    if (!executed.ok()) return executed;
    const Status applied = b().apply(op);
    EXPECT_TRUE(applied.ok()) << "apply: " << applied.to_string();
    return executed;
}

ObjectId VolumeTest::create(ObjectId parent, std::string_view name, std::uint32_t mode,
                            Bytes target) {
    Op request = op(OpKind::create);
    request.parent = parent;
    request.name = name;
    request.mode = mode;
    request.uid = 1000;
    request.gid = 1001;
    request.umask = 022;
    request.data = target;
    if (S_ISBLK(mode) || S_ISCHR(mode)) request.special_device = 0x103;
    const Status status = both(request);
    EXPECT_TRUE(status.ok()) << name << ": " << status.to_string();
    return request.object;
}

ObjectId VolumeTest::make_file(ObjectId parent, std::string_view name, std::string_view content) {
    const ObjectId id = create(parent, name, S_IFREG | 0644);
    if (!content.empty()) {
        EXPECT_TRUE(write(id, 0, content).ok());
    }
    return id;
}

Status VolumeTest::write(ObjectId object, std::uint64_t offset, std::string_view text) {
    Op request = op(OpKind::write);
    request.object = object;
    request.offset = offset;
    request.data = as_bytes(text);
    request.size = text.size();
    request.modified = {1'700'000'100, 42};
    return both(request);
}

Status VolumeTest::unlink(ObjectId parent, std::string_view name, bool in_use) {
    Op request = op(OpKind::unlink);
    request.parent = parent;
    request.name = name;
    request.object_in_use = in_use;
    return both(request);
}

Status VolumeTest::remove_directory(ObjectId parent, std::string_view name) {
    Op request = op(OpKind::remove_directory);
    request.parent = parent;
    request.name = name;
    return both(request);
}

Status VolumeTest::rename(ObjectId parent, std::string_view name, ObjectId new_parent,
                          std::string_view new_name, std::uint32_t flags, bool in_use) {
    Op request = op(OpKind::rename);
    request.parent = parent;
    request.name = name;
    request.new_parent = new_parent;
    request.new_name = new_name;
    request.flags = flags;
    request.object_in_use = in_use;
    return both(request);
}

Status VolumeTest::link(ObjectId object, ObjectId parent, std::string_view name) {
    Op request = op(OpKind::link);
    request.object = object;
    request.parent = parent;
    request.name = name;
    return both(request);
}

Status VolumeTest::set_xattr(ObjectId object, std::string_view name, std::string_view value) {
    Op request = op(OpKind::set_xattr);
    request.object = object;
    request.name = name;
    request.data = as_bytes(value);
    return both(request);
}

std::string VolumeTest::content(DirectoryVolume& volume, ObjectId object) {
    const Result<Fd> fd = volume.data_fd(object);
    EXPECT_TRUE(fd.ok()) << fd.status().to_string();
    if (!fd.ok()) return "";
    std::array<std::byte, 4096> buffer;
    const Result<std::size_t> size = vfs().pread(fd.value(), buffer, 0);
    EXPECT_TRUE(size.ok());
    return size.ok() ? std::string(as_text(Bytes(buffer).first(size.value()))) : "";
}

}  // namespace gemel::volume_test
