// SPDX-License-Identifier: Apache-2.0
#include "tests/root/fuse_fixture.hpp"

#include "engine/io/uring/uring_loop.hpp"
#include "engine/mirror/replica.hpp"
#include "engine/store/directory_volume.hpp"
#include "engine/store/intent_log.hpp"
#include "frontends/fuse/connection.hpp"
#include "frontends/fuse/mount.hpp"
#include "frontends/fuse/target.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <future>
#include <grp.h>
#include <mutex>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace gemel {

bool enter_private_mounts() {
    if (::geteuid() != 0) return false;
    static const bool entered = ::unshare(CLONE_NEWNS) == 0 &&
                                ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    return entered;
}

namespace {

int wait_for(pid_t child) {
    int status = 0;
    if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

}  // namespace

int run_as(unsigned uid, unsigned gid, const std::function<int()>& body) {
    return run_in_child([&]() {
        if (::setgroups(0, nullptr) != 0) return 253;
        if (::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0) return 254;
        return body();
    });
}

int run_in_child(const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child < 0) return -1;
    if (child == 0) ::_exit(body());
    return wait_for(child);
}

class LogLock {
   public:
    std::mutex mutex;
};

TestLog::TestLog() : lock_(std::make_unique<LogLock>()) {}
TestLog::~TestLog() = default;

void TestLog::log(LogLevel level, std::string_view text) noexcept {
    if (level < LogLevel::warning) return;
    const std::lock_guard<std::mutex> hold(lock_->mutex);
    complaints_.append(text).append("\n");
    std::fprintf(stderr, "log: %.*s\n", static_cast<int>(text.size()), text.data());
}

std::string TestLog::complaints() const {
    const std::lock_guard<std::mutex> hold(lock_->mutex);
    return complaints_;
}

TemporaryDirectory::TemporaryDirectory() {
    char name[] = "/tmp/gemel-fuse-XXXXXX";
    path_ = ::mkdtemp(name) == nullptr ? std::string() : std::string(name);
    GEMEL_ASSERT(!path_.empty());
    GEMEL_ASSERT(::chmod(path_.c_str(), 0755) == 0);
}

TemporaryDirectory::~TemporaryDirectory() {
    const int left = run_in_child([this]() {
        return ::execl("/bin/rm", "rm", "-rf", "--one-file-system", path_.c_str(), nullptr);
    });
    if (left != 0) std::fprintf(stderr, "left behind: %s\n", path_.c_str());
}

namespace {

// The path of the mount that this process serves to itself. A crash of the serving thread would
// wait for the other threads, and they for answers: the handler breaks the circle.
char served_path[256];

void abort_own_mount(int signal_number) {
    ::umount2(served_path, MNT_FORCE | MNT_DETACH);
    ::signal(signal_number, SIG_DFL);
    ::raise(signal_number);
}

void abort_on_crash(const std::string& path) {
    path.copy(served_path, sizeof served_path - 1);
    served_path[std::min(path.size(), sizeof served_path - 1)] = '\0';
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTERM}) {
        ::signal(number, abort_own_mount);
    }
}

}  // namespace

class MountedVolume::Impl final : private ReplicaEvents {
   public:
    Impl(const std::string& base, bool read_only)
        : base_(base), read_only_(read_only), path_(base + "/volume") {
        for (const char* name : {"/volume", "/run", "/state"}) {
            ::mkdir((base + name).c_str(), 0755);
        }
        mount_ = std::make_unique<VolumeMount>(
            log_, VolumeMount::Options{path_, "test", 0, base + "/run", base + "/state"});
        std::string why;
        if (const Status prepared = mount_->prepare(why); !prepared.ok()) fail("prepare", why);
        tree_ = mount_->tree_path();
        abort_on_crash(path_);
        std::promise<void> ready;
        std::future<void> is_ready = ready.get_future();
        thread_ = std::thread([this, &ready] { serve(ready); });
        is_ready.wait();
    }

    ~Impl() {
        if (thread_.joinable()) {
            call([this] {
                std::string why;
                if (!mount_->unmount(why).ok()) fail("unmount", why);
                connection_->close();
                stopping_ = true;
            });
            thread_.join();
        }
        std::string why;
        if (!mount_->uncover(why).ok()) fail("uncover", why);
        ::umount2((base_ + "/run/tree").c_str(), MNT_DETACH);
    }

    void die() {
        call([this] {
            connection_->close();
            stopping_ = true;
        });
        thread_.join();
    }

    // Runs `task` on the loop and waits for it.
    void call(const std::function<void()>& task) {
        std::promise<void> done;
        loop_->run_from_any_thread([&] {
            task();
            done.set_value();
        });
        done.get_future().wait();
    }

    [[noreturn]] static void fail(const char* what, const std::string& why) {
        std::fprintf(stderr, "%s: %s\n", what, why.c_str());
        std::abort();
    }

    TestLog log_;
    std::string base_;
    bool read_only_;
    std::string path_, tree_;
    std::unique_ptr<VolumeMount> mount_;
    std::unique_ptr<FuseConnection> connection_;

   private:
    void serve(std::promise<void>& ready) {
        Result<std::unique_ptr<UringLoop>> made = UringLoop::create({});
        if (!made.ok()) fail("loop", made.status().to_string());
        loop_ = std::move(made).value();
        {
            std::vector<std::unique_ptr<Volume>> volumes;
            volumes.push_back(open_volume());
            const Fd state = open_state();
            Result<std::unique_ptr<IntentLog>> intents =
                IntentLog::open(*loop_, log_, state, Uuid{{1}});
            if (!intents.ok()) fail("intents", intents.status().to_string());
            Replica replica(*loop_, log_, *intents.value(), volumes, *this, {});
            replica_ = &replica;
            replica.begin_alone(7);
            ReplicaTarget target(replica);
            std::string why;
            const Result<int> device = mount_->mount_fuse(read_only_, why);
            if (!device.ok()) fail("mount", why);
            connection_ = std::make_unique<FuseConnection>(*loop_, log_, target, device.value(),
                                                           FuseConnection::Options{0, read_only_});
            bool over = false;
            connection_->start([&over](Status) { over = true; });
            ready.set_value();
            // An aborted connection ends by itself; the test still asks this thread things.
            while (!over || !stopping_) loop_->turn(Duration::seconds(1));
            connection_.reset();
            replica.stop();
            replica_ = nullptr;
            while (loop_->in_flight() > 0) loop_->turn(Duration::seconds(1));
            intents = Status(Code::cancelled);
            volumes.clear();
            loop_->vfs().close(state);
        }
        loop_.reset();
    }

    std::unique_ptr<DirectoryVolume> open_volume() {
        const Result<Fd> root = loop_->vfs().open_directory(tree_);
        if (!root.ok()) fail("tree", root.status().to_string());
        Result<Uuid> carried = DirectoryVolume::volume_id_of(loop_->vfs(), root.value());
        DirectoryVolume::Options options;
        const bool known = carried.ok() && !carried.value().is_none();
        options.volume_id = known ? carried.value() : Uuid{{42}};
        const std::string state = base_ + "/state";
        options.state_directory = state;
        Result<std::unique_ptr<DirectoryVolume>> volume =
            DirectoryVolume::open(*loop_, log_, root.value(), options);
        if (!volume.ok()) fail("volume", volume.status().to_string());
        return std::move(volume).value();
    }

    Fd open_state() {
        const Result<Fd> state = loop_->vfs().open_directory(base_ + "/state");
        if (!state.ok()) fail("state", state.status().to_string());
        return state.value();
    }

    void on_local_failure(Status reason, const std::string& what) noexcept override {
        fail(what.c_str(), reason.to_string());
    }
    void on_peer_failure(const std::string& what) noexcept override { fail("peer", what); }
    void on_first_write_alone() noexcept override { replica_->history_stored(Status()); }
    void on_resync_complete() noexcept override {}
    void on_control_frame(FrameType, Bytes) noexcept override {}
    void on_session_lost(Status) noexcept override {}

    std::unique_ptr<UringLoop> loop_;
    bool stopping_ = false;  // on the loop's thread
    Replica* replica_ = nullptr;
    std::thread thread_;
};

MountedVolume::MountedVolume(const std::string& base, bool read_only)
    : impl_(std::make_unique<Impl>(base, read_only)) {}
MountedVolume::~MountedVolume() = default;

std::string MountedVolume::path(std::string_view name) const {
    return name.empty() ? impl_->path_ : impl_->path_ + "/" + std::string(name);
}

std::string MountedVolume::bare_path(std::string_view name) const {
    return name.empty() ? impl_->tree_ : impl_->tree_ + "/" + std::string(name);
}

std::uint64_t MountedVolume::received(std::uint32_t opcode) {
    std::uint64_t count = 0;
    impl_->call([&] { count = impl_->connection_->received(opcode); });
    return count;
}

std::size_t MountedVolume::open_objects() {
    std::size_t count = 0;
    impl_->call([&] { count = impl_->connection_->open_objects(); });
    return count;
}

void MountedVolume::wait_for_releases(std::size_t open) {
    while (open_objects() > open) std::this_thread::yield();
}

TestLog& MountedVolume::log() noexcept { return impl_->log_; }

void MountedVolume::abort() {
    std::string why;
    const Status aborted = impl_->mount_->abort(why);
    if (!aborted.ok()) Impl::fail("abort", why);
}

void MountedVolume::die() { impl_->die(); }

}  // namespace gemel
