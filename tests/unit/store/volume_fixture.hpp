// SPDX-License-Identifier: Apache-2.0
// Two volumes side by side in one world, and a comparison of trees that does not go through the
// volumes' own reading: for every test of directory volumes.
#pragma once

#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "engine/store/directory_volume.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gemel::volume_test {

class RecordingLog final : public LogSink {
   public:
    void log(LogLevel, std::string_view text) noexcept override { lines.emplace_back(text); }
    std::vector<std::string> lines;
};

// A loop to hand to volumes and an empty directory to put them in.
class TestWorld {
   public:
    virtual ~TestWorld() = default;
    [[nodiscard]] virtual Loop& loop() noexcept = 0;
    [[nodiscard]] virtual std::string directory() const = 0;  // absolute
    // Time goes on; what was posted to the loop runs.
    virtual void pass(Duration time) = 0;
    // Why volumes can't be tested in this world, or empty.
    [[nodiscard]] virtual std::string missing() = 0;
};
using WorldMaker = std::unique_ptr<TestWorld> (*)();
std::unique_ptr<TestWorld> make_posix_world();
std::unique_ptr<TestWorld> make_sim_world();

struct WorldKind {
    const char* name;
    WorldMaker make;
};
// For INSTANTIATE_TEST_SUITE_P.
std::vector<WorldKind> all_worlds();
std::string world_name(const testing::TestParamInfo<WorldKind>& info);

// What one object of a tree looks like from outside; inode, device, ctime and birth are left out.
struct Seen {
    FileStat stat;
    std::string target;                // of a symbolic link
    std::string content;               // of a regular file
    std::vector<std::uint64_t> holes;  // data begins, ends, begins, ...
    std::map<std::string, std::string> xattrs;
    std::uint64_t group = 0;  // the same number for all names of one object

    friend bool operator==(const Seen& a, const Seen& b);
};
using Tree = std::map<std::string, Seen>;
std::string describe(const Seen& seen);

class VolumeTest : public testing::TestWithParam<WorldKind> {
   protected:
    static constexpr std::uint32_t kTag = 5;

    void SetUp() override;
    void TearDown() override;

    struct Side {
        std::string root, state;
        std::unique_ptr<DirectoryVolume> volume;
    };
    Vfs& vfs() { return world_->loop().vfs(); }
    DirectoryVolume& a() { return *sides_[0].volume; }
    DirectoryVolume& b() { return *sides_[1].volume; }
    Result<std::unique_ptr<DirectoryVolume>> open(const Side& side, const Uuid& id,
                                                  std::size_t open_files_max = 64);
    void reopen(std::size_t side);
    // The tree of a side as the file system shows it, `.gemel` left out.
    Tree tree(std::size_t side);
    // What is in a private directory of a side.
    std::vector<std::string> private_names(std::size_t side, std::string_view directory);
    void expect_equal_trees();

    // Executes on a() and applies on b(); the op's status on a().
    Status both(Op& op);
    // Executes on a() only.
    Status only_a(Op& op) { return a().execute(op); }

    // Ops, carried out on both sides; EXPECTed to succeed where they answer an id.
    ObjectId create(ObjectId parent, std::string_view name, std::uint32_t mode, Bytes target = {});
    ObjectId make_file(ObjectId parent, std::string_view name, std::string_view content = "");
    ObjectId make_dir(ObjectId parent, std::string_view name) {
        return create(parent, name, S_IFDIR | 0755);
    }
    Status write(ObjectId object, std::uint64_t offset, std::string_view text);
    Status unlink(ObjectId parent, std::string_view name, bool in_use = false);
    Status remove_directory(ObjectId parent, std::string_view name);
    Status rename(ObjectId parent, std::string_view name, ObjectId new_parent,
                  std::string_view new_name, std::uint32_t flags = 0, bool in_use = false);
    Status link(ObjectId object, ObjectId parent, std::string_view name);
    Status set_xattr(ObjectId object, std::string_view name, std::string_view value);

    std::string content(DirectoryVolume& volume, ObjectId object);
    static Op op(OpKind kind);

    std::unique_ptr<TestWorld> world_;
    RecordingLog log_;
    Uuid id_;
    Side sides_[2];
    std::vector<std::string> names_;  // keeps the views of ops alive

   private:
    void walk(Fd directory, const std::string& prefix,
              std::map<std::uint64_t, std::uint64_t>& groups, Tree& out);
    Seen look(Fd parent, const std::string& name, const FileStat& stat);
};

}  // namespace gemel::volume_test
