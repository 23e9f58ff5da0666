// SPDX-License-Identifier: Apache-2.0
// What a volume's path shows: before, while and after it is served, after a crash, and what is
// refused. Everything happens in a mount namespace of this process's own.
#include "frontends/fuse/connection.hpp"
#include "frontends/fuse/mount.hpp"
#include "tests/root/fuse_fixture.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <signal.h>
#include <string>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace gemel {
namespace {

class FuseMount : public ::testing::Test {
   protected:
    void SetUp() override {
        if (!enter_private_mounts()) GTEST_SKIP() << "needs root";
        for (const char* name : {"/volume", "/run", "/state"}) {
            ASSERT_EQ(::mkdir(at(name).c_str(), 0755), 0);
        }
        put("/volume/kept", "kept");
    }
    void TearDown() override {
        if (::geteuid() != 0) return;
        // Whatever a failed test has left.
        while (::umount2(at("/volume").c_str(), MNT_DETACH) == 0) {
        }
        ::umount2(at("/run/tree").c_str(), MNT_DETACH);
    }
    [[nodiscard]] std::string at(const std::string& name) const { return base_.path() + name; }
    void put(const std::string& name, const std::string& text) const {
        std::ofstream(at(name)) << text;
    }
    [[nodiscard]] static std::string get(const std::string& path) {
        std::ifstream in(path);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    [[nodiscard]] VolumeMount::Options options(const std::string& volume = "/volume") const {
        return {at(volume), "test", 0, at("/run"), at("/state")};
    }
    // The refusal's sentence, or nothing when it is not refused.
    std::string refusal(const VolumeMount::Options& asked) {
        VolumeMount mount(log_, asked);
        std::string why;
        const Status status = mount.check(why);
        return status.ok() ? std::string() : why;
    }
    [[nodiscard]] bool shows_guard() const {
        struct statfs info {};
        return ::statfs(at("/volume").c_str(), &info) == 0 && info.f_type == 0x01021994 &&
               ::access(at("/volume/kept").c_str(), F_OK) != 0;
    }

    TemporaryDirectory base_;
    TestLog log_;
};

TEST_F(FuseMount, GuardCoversUntilReleased) {
    VolumeMount mount(log_, options());
    std::string why;
    ASSERT_TRUE(mount.prepare(why).ok()) << why;
    EXPECT_TRUE(shows_guard());
    EXPECT_NE(::mkdir(at("/volume/new").c_str(), 0755), 0);
    EXPECT_EQ(errno, EROFS);
    EXPECT_EQ(get(mount.tree_path() + "/kept"), "kept");
    ASSERT_TRUE(mount.prepare(why).ok()) << "not idempotent: " << why;
    ASSERT_TRUE(mount.uncover(why).ok()) << why;
    EXPECT_EQ(get(at("/volume/kept")), "kept");
    EXPECT_NE(::access(mount.tree_path().c_str(), F_OK), 0);
}

TEST_F(FuseMount, GuardShowsBetweenTwoRoles) {
    { MountedVolume volume(base_.path()); }
    VolumeMount mount(log_, options());
    std::string why;
    ASSERT_TRUE(mount.prepare(why).ok()) << why;
    for (const bool read_only : {false, true, false}) {
        const Result<int> device = mount.mount_fuse(read_only, why);
        ASSERT_TRUE(device.ok()) << why;
        EXPECT_TRUE(mount.is_fuse_mounted());
        ASSERT_TRUE(mount.unmount(why).ok()) << why;
        EXPECT_TRUE(shows_guard());
        ::close(device.value());
    }
    ASSERT_TRUE(mount.uncover(why).ok()) << why;
}

TEST_F(FuseMount, DeadMountAnswersErrorsUntilTheNextStartReplacesIt) {
    int fd = -1;
    {
        MountedVolume volume(base_.path());
        EXPECT_EQ(get(volume.path("kept")), "kept");
        fd = ::open(volume.path("kept").c_str(), O_RDWR);
        ASSERT_GE(fd, 0);
        volume.die();
        struct stat info {};
        EXPECT_NE(::stat(volume.path("other").c_str(), &info), 0);
        EXPECT_EQ(errno, ENOTCONN);
        VolumeMount next(log_, options());
        std::string why;
        ASSERT_TRUE(next.prepare(why).ok()) << why;
        EXPECT_TRUE(shows_guard());
        EXPECT_EQ(get(next.tree_path() + "/kept"), "kept");
        EXPECT_TRUE(next.early_users().empty());
    }
    EXPECT_EQ(::pwrite(fd, "x", 1, 0), -1) << "a descriptor of a dead connection works";
    ::close(fd);
}

TEST_F(FuseMount, BindIsMadeBelowACoverThatIsOlder) {
    std::string why;
    {
        VolumeMount first(log_, options());
        ASSERT_TRUE(first.prepare(why).ok()) << why;
        ASSERT_EQ(::umount2(first.tree_path().c_str(), MNT_DETACH), 0);
        EXPECT_NE(::access((first.tree_path() + "/kept").c_str(), F_OK), 0);
    }
    VolumeMount second(log_, options());
    ASSERT_TRUE(second.prepare(why).ok()) << why;
    EXPECT_TRUE(shows_guard());
    EXPECT_EQ(get(second.tree_path() + "/kept"), "kept");
    ASSERT_TRUE(second.uncover(why).ok()) << why;
}

TEST_F(FuseMount, VolumeThatIsItselfAMountIsFoundBelowItsCover) {
    ASSERT_EQ(::mkdir(at("/disk").c_str(), 0755), 0);
    put("/disk/on_disk", "disk");
    ASSERT_EQ(::mount(at("/disk").c_str(), at("/volume").c_str(), nullptr, MS_BIND, nullptr), 0);
    std::string why;
    VolumeMount mount(log_, options());
    ASSERT_TRUE(mount.prepare(why).ok()) << why;
    EXPECT_EQ(get(mount.tree_path() + "/on_disk"), "disk");
    ASSERT_EQ(::umount2(mount.tree_path().c_str(), MNT_DETACH), 0);
    VolumeMount again(log_, options());
    ASSERT_TRUE(again.prepare(why).ok()) << why;
    EXPECT_EQ(get(again.tree_path() + "/on_disk"), "disk");
    ASSERT_TRUE(again.uncover(why).ok()) << why;
    EXPECT_EQ(get(at("/volume/on_disk")), "disk");
}

TEST_F(FuseMount, BindOfAnotherDirectoryIsReplaced) {
    std::string why;
    {
        VolumeMount other(log_, options("/state/../volume"));
        ASSERT_TRUE(other.prepare(why).ok()) << why;
        while (::umount2(at("/volume").c_str(), MNT_DETACH) == 0) {
        }
    }
    ASSERT_EQ(::rename(at("/volume").c_str(), at("/older").c_str()), 0);
    ASSERT_EQ(::mkdir(at("/volume").c_str(), 0755), 0);
    put("/volume/fresh", "fresh");
    VolumeMount mount(log_, options());
    ASSERT_TRUE(mount.prepare(why).ok()) << why;
    EXPECT_EQ(get(mount.tree_path() + "/fresh"), "fresh");
    ASSERT_TRUE(mount.uncover(why).ok()) << why;
}

TEST_F(FuseMount, AbortFailsRequestsAndLeavesTheDeadMountToItsUsers) {
    MountedVolume volume(base_.path());
    const int fd = ::open(volume.path("kept").c_str(), O_RDWR);
    ASSERT_GE(fd, 0);
    void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(map, MAP_FAILED);
    volume.abort();
    EXPECT_EQ(::write(fd, "x", 1), -1);
    EXPECT_NE(::access(volume.path("missing").c_str(), F_OK), 0);
    EXPECT_FALSE(shows_guard()) << "users could not be found any more";
    EXPECT_EQ(get(volume.bare_path("kept")), "kept");
    ::munmap(map, 4096);
    ::close(fd);
}

TEST_F(FuseMount, MappedChangesAreWrittenBackOnRequest) {
    MountedVolume volume(base_.path());
    const int fd = ::open(volume.path("kept").c_str(), O_RDWR);
    ASSERT_GE(fd, 0);
    void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(map, MAP_FAILED);
    static_cast<char*>(map)[0] = 'K';
    EXPECT_TRUE(VolumeMount::write_back(volume.path()).ok());
    EXPECT_EQ(get(volume.bare_path("kept")), "Kept");
    ::munmap(map, 4096);
    ::close(fd);
    EXPECT_TRUE(VolumeMount::write_back(volume.path("missing")).is_errno(ENOENT));
    volume.abort();
    EXPECT_FALSE(VolumeMount::write_back(volume.path("x")).ok());
}

TEST_F(FuseMount, ReadAheadFillsARequest) {
    MountedVolume volume(base_.path());
    struct stat info {};
    ASSERT_EQ(::stat(volume.path().c_str(), &info), 0);  // after INIT, which may lower it
    const std::string device =
        std::to_string(major(info.st_dev)) + ":" + std::to_string(minor(info.st_dev));
    EXPECT_EQ(get("/sys/class/bdi/" + device + "/read_ahead_kb"), "1024\n");
}

TEST_F(FuseMount, ReadOnlyMountShowsAndRefuses) {
    { MountedVolume serving(base_.path()); }
    MountedVolume volume(base_.path(), true);
    EXPECT_EQ(get(volume.path("kept")), "kept");
    const int fd = ::open(volume.path("kept").c_str(), O_RDONLY);
    ASSERT_GE(fd, 0);
    void* map = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    ASSERT_NE(map, MAP_FAILED) << errno;
    EXPECT_EQ(std::string(static_cast<char*>(map), 4), "kept");
    ::munmap(map, 4096);
    ::close(fd);
    EXPECT_LT(::open(volume.path("kept").c_str(), O_RDWR), 0);
    EXPECT_EQ(errno, EROFS);
    EXPECT_NE(::mkdir(volume.path("new").c_str(), 0755), 0);
    EXPECT_EQ(errno, EROFS);
    // What changes below is seen at once: names, attributes, content.
    std::ofstream(volume.bare_path("kept")) << "longer";
    EXPECT_EQ(get(volume.path("kept")), "longer");
    ASSERT_EQ(::unlink(volume.bare_path("kept").c_str()), 0);
    EXPECT_NE(::access(volume.path("kept").c_str(), F_OK), 0);
    EXPECT_EQ(errno, ENOENT);
}

TEST_F(FuseMount, FilesOpenBeforeTheCoverAreReported) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const int fd = ::open(at("/volume/kept").c_str(), O_RDONLY);
        if (::write(ends[1], "r", 1) != 1 || fd < 0) ::_exit(1);
        for (;;) ::pause();
    }
    char ready;
    ASSERT_EQ(::read(ends[0], &ready, 1), 1);
    VolumeMount mount(log_, options());
    std::string why;
    ASSERT_TRUE(mount.prepare(why).ok()) << why;
    ASSERT_EQ(mount.early_users().size(), 1U);
    EXPECT_EQ(mount.early_users()[0].pid, child);
    EXPECT_EQ(mount.early_users()[0].path, at("/volume/kept"));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
    ASSERT_TRUE(mount.uncover(why).ok()) << why;
}

TEST_F(FuseMount, RefusalsSayWhy) {
    EXPECT_EQ(refusal(options()), "");
    EXPECT_NE(refusal(options("/missing")).find("does not exist"), std::string::npos);
    EXPECT_NE(refusal(options("/volume/kept")).find("not a directory"), std::string::npos);
    ASSERT_EQ(::symlink(at("/volume").c_str(), at("/link").c_str()), 0);
    EXPECT_NE(refusal(options("/link")).find("symbolic link"), std::string::npos);
    EXPECT_NE(refusal({"volume", "test", 0, at("/run"), at("/state")}).find("absolute"),
              std::string::npos);
    EXPECT_NE(refusal({"/", "test", 0, at("/run"), at("/state")}), "");
    ASSERT_EQ(::mkdir(at("/volume/state").c_str(), 0755), 0);
    EXPECT_NE(refusal({at("/volume"), "test", 0, at("/run"), at("/volume/state")})
                  .find("state directory"),
              std::string::npos);
    ASSERT_EQ(::mkdir(at("/volume/inner").c_str(), 0755), 0);
    ASSERT_EQ(::mount("none", at("/volume/inner").c_str(), "tmpfs", 0, ""), 0);
    const std::string nested = refusal(options());
    EXPECT_NE(nested.find("/volume/inner"), std::string::npos) << nested;
    ASSERT_EQ(::umount2(at("/volume/inner").c_str(), 0), 0);
}

TEST_F(FuseMount, DirectoryOfAnotherMirrorIsRefused) {
    VolumeMount mount(log_, options());
    std::string why;
    ASSERT_TRUE(mount.prepare(why).ok()) << why;
    VolumeMount::Options other = options();
    other.mirror = "other";
    EXPECT_NE(refusal(other).find("part of another mirror"), std::string::npos);
    ASSERT_TRUE(mount.uncover(why).ok()) << why;
}

TEST_F(FuseMount, NothingIsShownToOtherNamespacesUnderRun) {
    VolumeMount mount(log_, options());
    std::string why;
    ASSERT_TRUE(mount.prepare(why).ok()) << why;
    struct stat info {};
    ASSERT_EQ(::stat(at("/run/tree").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 077U, 0U);
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        if (line.find(at("/run/tree")) == std::string::npos) continue;
        EXPECT_EQ(line.find("shared:"), std::string::npos) << line;
    }
    ASSERT_TRUE(mount.uncover(why).ok()) << why;
}

}  // namespace
}  // namespace gemel
