// SPDX-License-Identifier: Apache-2.0
// Goal: whoever still holds a volume is found and killed while its file system answers nothing any
// more, and nobody else is. Method: a FUSE mount of our own in a mount namespace of our own, whose
// server falls silent, and one process for each way to hold it.
#include "controller/application.hpp"
#include "controller/application_users.hpp"
#include "engine/io/uring/uring_loop.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <linux/fuse.h>
#include <optional>
#include <poll.h>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace gemel {
namespace {

class NoLog final : public LogSink {
   public:
    void log(LogLevel, std::string_view) noexcept override {}
};

// A directory with one file, "file", both without any caching: each look at an attribute is a
// request. After fall_silent() every request is one too many: in gemeld it would wait.
class SilentFileSystem {
   public:
    explicit SilentFileSystem(const std::string& mount_point) : mount_point_(mount_point) {
        device_ = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        const std::string options =
            "fd=" + std::to_string(device_) + ",rootmode=40000,user_id=0,group_id=0,allow_other";
        is_mounted_ = device_ >= 0 && mount("test", mount_point.c_str(), "fuse",
                                            MS_NOSUID | MS_NODEV, options.c_str()) == 0;
        thread_ = std::thread([this] { serve(); });
    }
    ~SilentFileSystem() {
        umount2(mount_point_.c_str(), MNT_DETACH);
        is_over_ = true;
        thread_.join();
        close(device_);  // ends the connection
    }
    SilentFileSystem(const SilentFileSystem&) = delete;
    SilentFileSystem& operator=(const SilentFileSystem&) = delete;

    [[nodiscard]] bool is_mounted() const { return is_mounted_; }
    void fall_silent() { is_silent_ = true; }
    [[nodiscard]] bool was_asked_since() const { return late_ > 0; }

   private:
    static constexpr std::uint64_t kFileId = 2;

    void serve() {
        std::vector<std::byte> request(1 << 17);
        while (!is_over_) {
            pollfd ready{device_, POLLIN, 0};
            if (poll(&ready, 1, 20) <= 0) continue;
            const ssize_t size = read(device_, request.data(), request.size());
            if (size < static_cast<ssize_t>(sizeof(fuse_in_header))) continue;
            fuse_in_header header{};
            std::memcpy(&header, request.data(), sizeof header);
            if (!is_silent_) {
                answer(header, request.data() + sizeof header);
            } else if (!is_notice(header.opcode)) {
                // Not left without an answer: a failure of this test shall not hang for ever.
                ++late_;
                reply(header, -EIO, nullptr, 0);
            }
        }
    }
    // Nobody waits for the answer: what the end of a process leaves behind.
    static bool is_notice(std::uint32_t opcode) {
        return opcode == FUSE_RELEASE || opcode == FUSE_RELEASEDIR || opcode == FUSE_FORGET ||
               opcode == FUSE_BATCH_FORGET;
    }
    void answer(const fuse_in_header& request, const std::byte* body) {
        switch (request.opcode) {
            case FUSE_INIT: {
                fuse_init_out out{};
                out.major = FUSE_KERNEL_VERSION;
                out.minor = 31;
                out.max_write = 4096;
                return reply(request, 0, &out, sizeof out);
            }
            case FUSE_GETATTR: {
                fuse_attr_out out{};
                out.attr = attributes(request.nodeid);
                return reply(request, 0, &out, sizeof out);
            }
            case FUSE_LOOKUP: {
                if (std::strcmp(reinterpret_cast<const char*>(body), "file") != 0) {
                    return reply(request, -ENOENT, nullptr, 0);
                }
                fuse_entry_out out{};
                out.nodeid = kFileId;
                out.attr = attributes(kFileId);
                return reply(request, 0, &out, sizeof out);
            }
            case FUSE_OPEN:
            case FUSE_OPENDIR: {
                const fuse_open_out out{};
                return reply(request, 0, &out, sizeof out);
            }
            case FUSE_FORGET:
            case FUSE_BATCH_FORGET:
                return;
            case FUSE_RELEASE:
            case FUSE_RELEASEDIR:
                return reply(request, 0, nullptr, 0);
            default:
                return reply(request, -ENOSYS, nullptr, 0);
        }
    }
    static fuse_attr attributes(std::uint64_t id) {
        fuse_attr attr{};
        attr.ino = id;
        attr.mode = id == kFileId ? S_IFREG | 0644 : S_IFDIR | 0755;
        attr.nlink = 1;
        attr.size = id == kFileId ? 4096 : 0;
        return attr;
    }
    void reply(const fuse_in_header& request, int error, const void* body, std::size_t size) {
        std::vector<std::byte> bytes(sizeof(fuse_out_header) + size);
        const fuse_out_header header{static_cast<std::uint32_t>(bytes.size()), error,
                                     request.unique};
        std::memcpy(bytes.data(), &header, sizeof header);
        if (size != 0) std::memcpy(bytes.data() + sizeof header, body, size);
        EXPECT_EQ(write(device_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    }

    std::string mount_point_;
    int device_ = -1;
    bool is_mounted_ = false;
    std::atomic<bool> is_silent_{false};
    std::atomic<bool> is_over_{false};
    std::atomic<int> late_{0};
    std::thread thread_;
};

class ApplicationUsersTest : public testing::Test {
   protected:
    void SetUp() override {
        ASSERT_EQ(unshare(CLONE_NEWNS), 0) << "needs root";
        ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
        std::string pattern = testing::TempDir() + "gemelXXXXXX";
        path_ = mkdtemp(pattern.data());
        file_system_.emplace(path_);
        ASSERT_TRUE(file_system_->is_mounted());
    }
    void TearDown() override {
        for (const pid_t child : children_) {
            kill(child, SIGKILL);
            waitpid(child, nullptr, 0);
        }
        file_system_.reset();
        rmdir(path_.c_str());
    }

    // A process that does `task` and then nothing; returns when the task is done.
    pid_t child_that(const std::function<bool()>& task) {
        int ends[2];
        EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
        const pid_t child = fork();
        if (child == 0) {
            const char done = task() ? 'y' : 'n';
            if (write(ends[1], &done, 1) == 1) {
                for (;;) pause();
            }
            _exit(1);
        }
        close(ends[1]);
        char done = 0;
        EXPECT_EQ(read(ends[0], &done, 1), 1);
        EXPECT_EQ(done, 'y');
        close(ends[0]);
        children_.push_back(child);
        return child;
    }
    // Waits for its end, which must be one.
    bool is_killed(pid_t child) {
        int status = 0;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        std::erase(children_, child);
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }

    std::string path_;
    std::optional<SilentFileSystem> file_system_;
    std::vector<pid_t> children_;
};

TEST_F(ApplicationUsersTest, AreKilledWhileTheMountAnswersNothing) {
    const std::string file = path_ + "/file";
    // The first close tells the kernel that this server takes no FLUSH: processes that die later
    // would wait for its answer. (gemeld has aborted the connection by then.)
    close(open(file.c_str(), O_RDONLY | O_CLOEXEC));
    const pid_t in_directory = child_that([&] { return chdir(path_.c_str()) == 0; });
    const pid_t with_descriptor = child_that([&] { return open(file.c_str(), O_RDONLY) >= 0; });
    const pid_t with_path = child_that([&] { return open(file.c_str(), O_PATH) >= 0; });
    const pid_t with_mapping = child_that([&] {
        const int fd = open(file.c_str(), O_RDONLY);
        const bool mapped = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED;
        return mapped && close(fd) == 0;
    });
    const pid_t bystander = child_that([] { return chdir("/") == 0; });
    file_system_->fall_silent();

    Result<std::unique_ptr<UringLoop>> loop = UringLoop::create({});
    ASSERT_TRUE(loop.ok());
    loop.value()->turn(Duration{});
    NoLog log;
    const std::unique_ptr<Application> application = make_application(*loop.value(), log, {});
    std::optional<KillReport> report;
    application->kill_users({path_}, [&](const KillReport& r) { report = r; });
    while (!report) loop.value()->turn(Duration::milliseconds(100));

    EXPECT_EQ(report->killed.size(), 4u);
    EXPECT_TRUE(report->remaining.empty());
    EXPECT_FALSE(file_system_->was_asked_since()) << "the mount was asked";
    for (const pid_t child : {in_directory, with_descriptor, with_path, with_mapping}) {
        EXPECT_TRUE(is_killed(child)) << child;
    }
    EXPECT_EQ(waitpid(bystander, nullptr, WNOHANG), 0) << "somebody else was killed";
}

TEST_F(ApplicationUsersTest, AreFoundAfterTheMountWasDetached) {
    const pid_t user = child_that([&] { return chdir(path_.c_str()) == 0; });
    struct statx info {};
    ASSERT_EQ(statx(AT_FDCWD, path_.c_str(), AT_STATX_DONT_SYNC, 0, &info), 0);
    const std::uint64_t device = makedev(info.stx_dev_major, info.stx_dev_minor);
    file_system_->fall_silent();
    ASSERT_EQ(umount2(path_.c_str(), MNT_DETACH), 0);
    EXPECT_EQ(find_users({device}), std::vector<pid_t>{user});
    EXPECT_EQ(kill_users_of({device}, Duration::seconds(5)).killed.size(), 1u);
    EXPECT_TRUE(is_killed(user));
}

}  // namespace
}  // namespace gemel
