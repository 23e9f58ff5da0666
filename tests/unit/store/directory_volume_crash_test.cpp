// SPDX-License-Identifier: Apache-2.0
// The process, or the whole machine, dies at every single call that a volume makes of the file
// system during a script of ops; then the volume is opened again. An object in sight has to be
// whole: id, owner, mode; its id leads back to it; a name that a rename replaces never goes
// missing.
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "engine/store/directory_volume.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace gemel {
namespace {

constexpr std::uint32_t kOwner = 1000;

class Script {
   public:
    explicit Script(DirectoryVolume& volume) : volume_(volume) {}

    // How many ops were carried out before the one that met the end; all of them: no end came.
    std::size_t run() {
        const ObjectId dir = create(kRootObject, "dir", S_IFDIR | 0750);
        const ObjectId file = create(dir, "file", S_IFREG | 0640);
        write(file, "first");
        create(dir, "link", S_IFLNK | 0777);
        create(kRootObject, "target", S_IFREG | 0644);  // op 4
        rename(dir, "file", kRootObject, "target");     // op 5
        link(file, dir, "second");
        unlink(kRootObject, "target");  // op 7
        unlink(dir, "second");
        release(file);
        const ObjectId nameless = create(kRootObject, "", S_IFREG | 0600);
        link(nameless, dir, "named");
        create(dir, "sub", S_IFDIR | 0700);
        remove_directory(dir, "sub");
        attributes(dir);
        return done_;
    }
    [[nodiscard]] bool is_dead() const { return dead_; }

   private:
    static Op op(OpKind kind) {
        Op result;
        result.kind = kind;
        result.modified = {1000, 1};
        result.uid = result.gid = kOwner;
        return result;
    }
    ObjectId carry_out(Op op) {
        if (dead_) return {};
        const Status status = volume_.execute(op);
        if (status.ok()) {
            ++done_;
            return op.object;
        }
        EXPECT_EQ(status.code(), Code::cancelled) << "op " << done_ << ": " << status.to_string();
        dead_ = true;
        return {};
    }
    ObjectId create(ObjectId parent, std::string_view name, std::uint32_t mode) {
        Op request = op(OpKind::create);
        request.parent = parent;
        request.name = name;
        request.mode = mode;
        if (S_ISLNK(mode)) request.data = as_bytes("target");
        return carry_out(request);
    }
    void write(ObjectId object, std::string_view text) {
        Op request = op(OpKind::write);
        request.object = object;
        request.data = as_bytes(text);
        carry_out(request);
    }
    void rename(ObjectId parent, std::string_view name, ObjectId new_parent,
                std::string_view new_name) {
        Op request = op(OpKind::rename);
        request.parent = parent;
        request.name = name;
        request.new_parent = new_parent;
        request.new_name = new_name;
        request.object_in_use = true;
        carry_out(request);
    }
    void link(ObjectId object, ObjectId parent, std::string_view name) {
        Op request = op(OpKind::link);
        request.object = object;
        request.parent = parent;
        request.name = name;
        carry_out(request);
    }
    void unlink(ObjectId parent, std::string_view name) {
        Op request = op(OpKind::unlink);
        request.parent = parent;
        request.name = name;
        request.object_in_use = true;
        carry_out(request);
    }
    void remove_directory(ObjectId parent, std::string_view name) {
        Op request = op(OpKind::remove_directory);
        request.parent = parent;
        request.name = name;
        carry_out(request);
    }
    void release(ObjectId object) {
        Op request = op(OpKind::release_orphan);
        request.object = object;
        carry_out(request);
    }
    void attributes(ObjectId object) {
        Op request = op(OpKind::set_attributes);
        request.object = object;
        request.mask = kSetOwner | kSetModified;
        carry_out(request);
    }

    DirectoryVolume& volume_;
    std::size_t done_ = 0;
    bool dead_ = false;
};

Result<std::unique_ptr<DirectoryVolume>> open(sim::SimLoop& loop) {
    const Result<Fd> root = loop.vfs().open_directory("/test/root");
    if (!root.ok()) return root.status();
    DirectoryVolume::Options options;
    options.volume_id = Uuid{{4, 2}};
    options.state_directory = "/test/state";
    return DirectoryVolume::open(loop, loop.log(), root.value(), options);
}

// `whole`: nothing written has been lost, so nothing may be in sight without an id.
void check_directory(DirectoryVolume& volume, ObjectId directory, bool whole) {
    std::vector<ListedEntry> entries;
    ASSERT_TRUE(volume.list(directory, 0, 100, entries).ok());
    for (const ListedEntry& entry : entries) {
        if (!whole && entry.id.is_none()) continue;
        ASSERT_FALSE(entry.id.is_none()) << entry.name;
        const Result<Attributes> attributes = volume.attributes(entry.id);
        ASSERT_TRUE(attributes.ok()) << entry.name << ": " << attributes.status().to_string();
        EXPECT_EQ(attributes->stat.inode, entry.stat.inode) << entry.name;
        if (whole) {
            EXPECT_EQ(entry.stat.uid, kOwner) << entry.name;
            EXPECT_EQ(entry.stat.gid, kOwner) << entry.name;
        }
        if (S_ISDIR(entry.mode)) check_directory(volume, entry.id, whole);
    }
}

// Dies at the n-th call; answers whether there was one.
bool run_once(std::uint64_t n, bool power) {
    SCOPED_TRACE("call " + std::to_string(n));
    sim::World world(n);
    sim::NodeOptions options;
    options.name = "a";
    sim::Node& node = world.add_node(options);
    node.make_directories("/test/root");
    node.make_directories("/test/state");
    sim::SimLoop& loop = node.start();
    Result<std::unique_ptr<DirectoryVolume>> volume = open(loop);
    EXPECT_TRUE(volume.ok()) << volume.status().to_string();
    if (!volume.ok()) return false;
    volume.value()->set_allotment(5, kFirstObject.value);
    node.die_at_vfs_call(n, power);
    Script script(*volume.value());
    const std::size_t done = script.run();
    if (!script.is_dead()) return false;
    std::move(volume).value().reset();
    world.run_for(Duration::seconds(1));
    EXPECT_FALSE(node.has_process());

    sim::SimLoop& second = node.start();
    volume = open(second);
    EXPECT_TRUE(volume.ok()) << volume.status().to_string();
    if (!volume.ok()) return true;
    check_directory(*volume.value(), kRootObject, !power);
    if (!power && done >= 5 && done < 7) {
        EXPECT_TRUE(volume.value()->lookup(kRootObject, "target").ok()) << "after op " << done;
    }
    // It works: what is there can be removed, and new things made.
    volume.value()->set_allotment(6, kFirstObject.value);
    EXPECT_TRUE(volume.value()->empty_directory(kOrphanDirectory).ok());
    if (volume.value()->is_empty().value()) {
        Script again(*volume.value());
        EXPECT_EQ(again.run(), 15U);
    }
    return true;
}

TEST(DirectoryVolumeCrash, KilledAtEveryCallItShowsOnlyWholeObjects) {
    std::uint64_t calls = 1;
    while (run_once(calls, false)) {
        if (HasFailure()) return;
        ++calls;
    }
    EXPECT_GT(calls, 100U);
}

TEST(DirectoryVolumeCrash, WithoutPowerAtEveryCallItOpensAgain) {
    std::uint64_t calls = 1;
    while (run_once(calls, true)) {
        if (HasFailure()) return;
        ++calls;
    }
    EXPECT_GT(calls, 100U);
}

}  // namespace
}  // namespace gemel
