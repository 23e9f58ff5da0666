// SPDX-License-Identifier: Apache-2.0
#include "tests/root/fuse_volume.hpp"

#include <cerrno>
#include <fcntl.h>

namespace gemel {

namespace {

TemporaryDirectory* base = nullptr;
MountedVolume* mounted = nullptr;

class Environment final : public ::testing::Environment {
   public:
    void SetUp() override {
        if (!enter_private_mounts()) GTEST_SKIP() << "needs root";
        base = new TemporaryDirectory();
        mounted = new MountedVolume(base->path());
    }
    void TearDown() override {
        delete mounted;
        delete base;
    }
};
const ::testing::Environment* const environment =
    ::testing::AddGlobalTestEnvironment(new Environment());

}  // namespace

MountedVolume& FuseTest::volume() { return *mounted; }

void FuseTest::SetUp() {
    if (mounted == nullptr) GTEST_SKIP() << "needs root";
    ::umask(022);
    name_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_EQ(::mkdir(path().c_str(), 0755), 0) << errno;
}

void FuseTest::TearDown() {
    if (mounted == nullptr) return;
    wait_for_closes();
    EXPECT_EQ(count_orphans(), 0U) << "an unlinked object was never removed";
    EXPECT_EQ(volume().log().complaints(), "");
}

std::string FuseTest::path(std::string_view name) const {
    return volume().path(name.empty() ? name_ : name_ + "/" + std::string(name));
}

std::string FuseTest::bare(std::string_view name) const {
    return volume().bare_path(name.empty() ? name_ : name_ + "/" + std::string(name));
}

struct stat FuseTest::stat_of(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(::lstat(path.c_str(), &info), 0) << path << ": " << errno;
    return info;
}

void FuseTest::write_file(const std::string& path, std::string_view content) {
    const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
    ASSERT_GE(fd, 0) << path << ": " << errno;
    ASSERT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    ::close(fd);
}

std::string FuseTest::read_file(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY);
    EXPECT_GE(fd, 0) << path << ": " << errno;
    std::string content;
    char chunk[65536];
    for (ssize_t size = 0; (size = ::read(fd, chunk, sizeof chunk)) > 0;) {
        content.append(chunk, static_cast<std::size_t>(size));
    }
    ::close(fd);
    return content;
}

std::set<std::string> FuseTest::list(const std::string& path, std::size_t* count) {
    std::set<std::string> names;
    DIR* directory = ::opendir(path.c_str());
    EXPECT_NE(directory, nullptr) << path << ": " << errno;
    if (directory == nullptr) return names;
    std::size_t seen = 0;
    while (const dirent* entry = ::readdir(directory)) {
        names.insert(entry->d_name);
        ++seen;
    }
    ::closedir(directory);
    if (count != nullptr) *count = seen;
    return names;
}

std::size_t FuseTest::count_orphans() {
    return list(volume().bare_path(".gemel/orphans")).size() - 2;
}

void FuseTest::wait_for_closes() {
    volume().wait_for_releases(0);
    // What the last closes removed is carried out before any later change.
    ASSERT_EQ(::utimensat(AT_FDCWD, path().c_str(), nullptr, 0), 0);
}

}  // namespace gemel
