// SPDX-License-Identifier: Apache-2.0
// Content through a real mount: read, write, map, append, holes, space, durability.
#include "frontends/fuse/fuse_abi.hpp"
#include "tests/root/fuse_volume.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace gemel {
namespace {

std::uint32_t number(fuse::Opcode opcode) { return static_cast<std::uint32_t>(opcode); }

std::string pattern(std::size_t size, unsigned seed) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        seed = seed * 1664525U + 1013904223U;
        text[i] = static_cast<char>(seed >> 24);
    }
    return text;
}

class FuseData : public FuseTest {
   protected:
    int open_file(const char* name, int flags) {
        const int fd = ::open(path(name).c_str(), flags | O_CLOEXEC, 0644);
        EXPECT_GE(fd, 0) << name << ": " << errno;
        return fd;
    }
};

TEST_F(FuseData, LargeWritesAndReadsKeepEveryByte) {
    const std::string content = pattern(9 * 1024 * 1024 + 12345, 1);
    write_file(path("f"), content);
    EXPECT_TRUE(read_file(bare("f")) == content);
    EXPECT_TRUE(read_file(path("f")) == content);
    // Without the pages that the writes left in the cache.
    const int fd = open_file("f", O_RDONLY);
    ASSERT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    std::string again(content.size(), '\0');
    for (std::size_t at = 0; at < again.size();) {
        const ssize_t size =
            ::pread(fd, again.data() + at, again.size() - at, static_cast<off_t>(at));
        ASSERT_GT(size, 0);
        at += static_cast<std::size_t>(size);
    }
    EXPECT_TRUE(again == content);
    ::close(fd);
}

TEST_F(FuseData, ManyReadersAndWritersAtOnce) {
    constexpr int kThreads = 24, kRounds = 40;
    constexpr std::size_t kSize = 300 * 1000;
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([this, t, &wrong] {
            const std::string name = path("f" + std::to_string(t));
            const int fd = ::open(name.c_str(), O_CREAT | O_RDWR, 0644);
            const int direct = ::open(name.c_str(), O_RDONLY | O_DIRECT);
            if (fd < 0 || direct < 0) ++wrong;
            for (int round = 0; round < kRounds; ++round) {
                const std::string content = pattern(kSize, static_cast<unsigned>(t * 100 + round));
                if (::pwrite(fd, content.data(), kSize, 0) != static_cast<ssize_t>(kSize)) ++wrong;
                std::string back(kSize, '\0');
                if (::pread(direct, back.data(), kSize, 0) != static_cast<ssize_t>(kSize)) ++wrong;
                if (back != content) ++wrong;
            }
            ::close(fd);
            ::close(direct);
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong.load(), 0);
}

TEST_F(FuseData, SharedMappingIsWrittenBack) {
    write_file(path("f"), std::string(3 * 4096, 'a'));
    const int fd = open_file("f", O_RDWR);
    void* map = ::mmap(nullptr, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(map, MAP_FAILED) << errno;
    std::memcpy(static_cast<char*>(map) + 5000, "mapped", 6);
    ASSERT_EQ(::msync(map, 3 * 4096, MS_SYNC), 0);
    EXPECT_EQ(read_file(bare("f")).substr(5000, 6), "mapped");
    // A write is seen in the mapping, and the mapping in a read.
    ASSERT_EQ(::pwrite(fd, "written", 7, 8000), 7);
    EXPECT_EQ(std::memcmp(static_cast<char*>(map) + 8000, "written", 7), 0);
    std::memcpy(static_cast<char*>(map) + 100, "again", 5);
    char text[5];
    ASSERT_EQ(::pread(fd, text, 5, 100), 5);
    EXPECT_EQ(std::memcmp(text, "again", 5), 0);
    ::munmap(map, 3 * 4096);
    ::close(fd);
    EXPECT_EQ(read_file(path("f")).substr(100, 5), "again");
}

TEST_F(FuseData, MappingOfAFileOpenedDirectWorks) {
    write_file(path("f"), std::string(8192, 'd'));
    const int fd = open_file("f", O_RDWR | O_DIRECT);
    void* map = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(map, MAP_FAILED) << errno;
    static_cast<char*>(map)[4096] = 'M';
    ASSERT_EQ(::msync(map, 8192, MS_SYNC), 0);
    EXPECT_EQ(read_file(bare("f"))[4096], 'M');
    ::munmap(map, 8192);
    ::close(fd);
}

TEST_F(FuseData, DirectIoOfAnySizeAndCachedIoAgree) {
    const std::string content = pattern(64 * 1024, 3);
    write_file(path("f"), content);
    EXPECT_TRUE(read_file(path("f")) == content);
    const int direct = open_file("f", O_RDWR | O_DIRECT);
    const int cached = open_file("f", O_RDWR);
    void* buffer = nullptr;
    ASSERT_EQ(::posix_memalign(&buffer, 4096, 8192), 0);
    std::memset(buffer, 'D', 8192);
    ASSERT_EQ(::pwrite(direct, buffer, 8192, 16384), 8192);
    char text[4];
    ASSERT_EQ(::pread(cached, text, 4, 16384), 4);
    EXPECT_EQ(std::memcmp(text, "DDDD", 4), 0) << "the cache shows what was there before";
    ASSERT_EQ(::pwrite(cached, "CCCC", 4, 20480), 4);
    ASSERT_EQ(::pread(direct, buffer, 4096, 20480), 4096);
    EXPECT_EQ(std::memcmp(buffer, "CCCCDDDD", 8), 0);
    EXPECT_EQ(read_file(bare("f")).substr(20480, 8), "CCCCDDDD");
    std::free(buffer);
    ::close(direct);
    ::close(cached);
}

TEST_F(FuseData, AppendsOfTwoProcessesDoNotOverwriteEachOther) {
    write_file(path("log"), "");
    constexpr int kLines = 500;
    const auto append = [&](char letter) {
        const pid_t child = ::fork();
        if (child != 0) return child;
        const int fd = ::open(path("log").c_str(), O_WRONLY | O_APPEND);
        const std::string line = std::string(30, letter) + "\n";
        for (int i = 0; i < kLines; ++i) {
            if (::write(fd, line.data(), line.size()) != 31) ::_exit(1);
        }
        ::_exit(0);
    };
    const pid_t first = append('a'), second = append('b');
    int status = 0;
    ASSERT_EQ(::waitpid(first, &status, 0), first);
    EXPECT_EQ(status, 0);
    ASSERT_EQ(::waitpid(second, &status, 0), second);
    EXPECT_EQ(status, 0);
    const std::string content = read_file(bare("log"));
    ASSERT_EQ(content.size(), 2U * kLines * 31);
    for (std::size_t at = 0; at < content.size(); at += 31) {
        ASSERT_EQ(content.substr(at, 30), std::string(30, content[at]));
    }
}

TEST_F(FuseData, TruncationShowsEverywhere) {
    write_file(path("f"), pattern(10000, 4));
    const int fd = open_file("f", O_RDWR);
    ASSERT_EQ(::ftruncate(fd, 100), 0);
    ASSERT_EQ(::ftruncate(fd, 5000), 0);
    const std::string content = read_file(path("f"));
    EXPECT_EQ(content.substr(0, 100), pattern(10000, 4).substr(0, 100));
    EXPECT_EQ(content.substr(100), std::string(4900, '\0'));
    EXPECT_EQ(stat_of(bare("f")).st_size, 5000);
    ::close(fd);
    ::close(open_file("f", O_WRONLY | O_TRUNC));
    EXPECT_EQ(stat_of(path("f")).st_size, 0);
    EXPECT_EQ(stat_of(bare("f")).st_size, 0);
    ASSERT_EQ(::truncate(path("f").c_str(), 77), 0);
    EXPECT_EQ(stat_of(bare("f")).st_size, 77);
}

TEST_F(FuseData, HolesAreFoundMadeAndKept) {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    ASSERT_EQ(::pwrite(fd, "x", 1, 1024 * 1024), 1);
    EXPECT_EQ(::lseek(fd, 0, SEEK_DATA), 1024 * 1024);
    EXPECT_EQ(::lseek(fd, 0, SEEK_HOLE), 0);
    EXPECT_EQ(::lseek(fd, 1024 * 1024, SEEK_HOLE), 1024 * 1024 + 1);
    ASSERT_EQ(::pwrite(fd, std::string(64 * 1024, 'y').data(), 64 * 1024, 0), 64 * 1024);
    ASSERT_EQ(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16384, 16384), 0);
    EXPECT_EQ(::lseek(fd, 0, SEEK_HOLE), 16384);
    EXPECT_EQ(read_file(path("f")).substr(16384, 16384), std::string(16384, '\0'));
    EXPECT_EQ(stat_of(path("f")).st_blocks, stat_of(bare("f")).st_blocks);
    ::close(fd);
}

TEST_F(FuseData, SpaceIsAllocatedInEveryMode) {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    ASSERT_EQ(::fallocate(fd, 0, 0, 100000), 0);
    EXPECT_EQ(stat_of(path("f")).st_size, 100000);
    ASSERT_EQ(::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 300000), 0);
    EXPECT_EQ(stat_of(path("f")).st_size, 100000);
    EXPECT_GE(stat_of(path("f")).st_blocks * 512, 300000);
    ASSERT_EQ(::pwrite(fd, "data", 4, 50000), 4);
    ASSERT_EQ(::fallocate(fd, FALLOC_FL_ZERO_RANGE, 49152, 8192), 0);
    EXPECT_EQ(read_file(path("f")).substr(50000, 4), std::string(4, '\0'));
    EXPECT_EQ(::fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -1);
    EXPECT_EQ(errno, EOPNOTSUPP);
    ::close(fd);
}

TEST_F(FuseData, RangesAreCopiedInside) {
    const std::string content = pattern(20 * 1024 * 1024, 5);
    write_file(path("from"), content);
    const int from = open_file("from", O_RDONLY), to = open_file("to", O_CREAT | O_RDWR);
    off_t in = 4096, out = 0;
    while (in < static_cast<off_t>(content.size())) {
        const ssize_t size = ::copy_file_range(from, &in, to, &out, content.size(), 0);
        ASSERT_GT(size, 0) << errno;
    }
    EXPECT_TRUE(read_file(path("to")) == content.substr(4096));
    EXPECT_TRUE(read_file(bare("to")) == content.substr(4096));
    EXPECT_GT(volume().received(number(fuse::Opcode::copy_file_range)) +
                  volume().received(number(fuse::Opcode::copy_file_range_64)),
              0U);
    ::close(from);
    ::close(to);
}

TEST_F(FuseData, SynchronousWritesAreSynced) {
    const auto syncs = [] { return volume().received(number(fuse::Opcode::fsync)); };
    const std::uint64_t before = syncs();
    const int fd = open_file("f", O_CREAT | O_WRONLY | O_DSYNC);
    ASSERT_EQ(::write(fd, "durable", 7), 7);
    EXPECT_GT(syncs(), before) << "the kernel did not ask, and the write was not synced for it";
    ::close(fd);
    const int plain = open_file("g", O_CREAT | O_WRONLY);
    ASSERT_EQ(::write(plain, "x", 1), 1);
    ASSERT_EQ(::fsync(plain), 0);
    ASSERT_EQ(::fdatasync(plain), 0);
    ::close(plain);
    const int directory = ::open(path().c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(::fsync(directory), 0);
    ::close(directory);
}

TEST_F(FuseData, SynchronousDirectWritesAreAnswered) {
    const int fd = open_file("f", O_CREAT | O_WRONLY | O_DIRECT | O_DSYNC);
    void* buffer = nullptr;
    ASSERT_EQ(::posix_memalign(&buffer, 4096, 4096), 0);
    std::memset(buffer, 'S', 4096);
    ASSERT_EQ(::pwrite(fd, buffer, 4096, 0), 4096);
    std::free(buffer);
    ::close(fd);
    EXPECT_EQ(read_file(bare("f")), std::string(4096, 'S'));
}

TEST_F(FuseData, LocksExcludeOthersAndWaitsCanBeInterrupted) {
    write_file(path("f"), "lock");
    const int fd = open_file("f", O_RDWR);
    struct flock whole {};
    whole.l_type = F_WRLCK;
    ASSERT_EQ(::fcntl(fd, F_SETLK, &whole), 0);
    ASSERT_EQ(::flock(fd, LOCK_EX), 0);
    const std::string file = path("f");
    EXPECT_EQ(run_in_child([&] {
                  const int other = ::open(file.c_str(), O_RDWR);
                  struct flock wanted {};
                  wanted.l_type = F_WRLCK;
                  if (::fcntl(other, F_SETLK, &wanted) == 0 || errno != EAGAIN) return 1;
                  if (::flock(other, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return 2;
                  struct sigaction wake {};
                  wake.sa_handler = [](int) {};
                  ::sigaction(SIGALRM, &wake, nullptr);
                  ::alarm(1);
                  if (::fcntl(other, F_SETLKW, &wanted) == 0 || errno != EINTR) return 3;
                  ::alarm(1);
                  if (::flock(other, LOCK_EX) == 0 || errno != EINTR) return 4;
                  return 0;
              }),
              0);
    ::close(fd);
}

TEST_F(FuseData, SpaceOfTheFileSystemBelowIsShown) {
    struct statvfs shown {
    }, kept{};
    ASSERT_EQ(::statvfs(path().c_str(), &shown), 0);
    ASSERT_EQ(::statvfs(bare().c_str(), &kept), 0);
    EXPECT_EQ(shown.f_blocks, kept.f_blocks);
    EXPECT_EQ(shown.f_files, kept.f_files);
    EXPECT_EQ(shown.f_namemax, 255U);
}

TEST_F(FuseData, ProgramsRunFromTheMount) {
    const std::string program = read_file("/bin/true");
    write_file(path("true"), program);
    ASSERT_EQ(::chmod(path("true").c_str(), 0755), 0);
    EXPECT_EQ(run_in_child(
                  [&] { return ::execl(path("true").c_str(), "true", nullptr) == 0 ? 0 : errno; }),
              0);
}

TEST_F(FuseData, UnsupportedIoctlIsRefusedAsSuch) {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    long flags = 0;
    EXPECT_EQ(::ioctl(fd, 0x80086601UL /* FS_IOC_GETFLAGS */, &flags), -1);
    EXPECT_EQ(errno, ENOTTY);
    ::close(fd);
}

}  // namespace
}  // namespace gemel
