// SPDX-License-Identifier: Apache-2.0
// Goal: commands end, in time or by force, with everything that belongs to them and nothing else;
// their outcome arrives on the loop, exactly once.
#include "controller/application.hpp"

#include "controller/application_command.hpp"
#include "controller/application_users.hpp"
#include "engine/io/uring/uring_loop.hpp"
#include "tests/unit/controller/fake_daemon.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <mutex>
#include <optional>
#include <sys/sysmacros.h>

namespace gemel {
namespace {

class Lines final : public LogSink {
   public:
    void log(LogLevel, std::string_view text) noexcept override {
        const std::lock_guard lock(mutex_);
        lines_.emplace_back(text);
    }
    [[nodiscard]] std::vector<std::string> all() {
        const std::lock_guard lock(mutex_);
        return lines_;
    }

   private:
    std::mutex mutex_;
    std::vector<std::string> lines_;
};

class ApplicationTest : public testing::Test {
   protected:
    ApplicationTest() {
        Result<std::unique_ptr<UringLoop>> made = UringLoop::create({});
        GEMEL_ASSERT(made.ok());
        loop_ = std::move(made).value();
        loop_->turn(Duration{});
        options_.mirror = "db";
        options_.node = "alpha";
        options_.term_grace = Duration::milliseconds(100);
    }
    ~ApplicationTest() override {
        application_.reset();
        loop_->turn(Duration{});
    }

    void make() { application_ = make_application(*loop_, lines_, options_); }
    void turn_until(const std::function<bool()>& condition) {
        while (!condition()) loop_->turn(Duration::milliseconds(100));
    }
    CommandOutcome start() {
        std::optional<CommandOutcome> outcome;
        application_->start([&](const CommandOutcome& o) { outcome = o; });
        EXPECT_FALSE(outcome.has_value()) << "the callback came inside the call";
        turn_until([&] { return outcome.has_value(); });
        return *outcome;
    }
    CommandOutcome stop() {
        std::optional<CommandOutcome> outcome;
        application_->stop([&](const CommandOutcome& o) { outcome = o; });
        EXPECT_FALSE(outcome.has_value()) << "the callback came inside the call";
        turn_until([&] { return outcome.has_value(); });
        return *outcome;
    }
    [[nodiscard]] std::string path(const char* name) const {
        return directory_.path() + "/" + name;
    }
    // The number that a command wrote into a file, once it is there.
    pid_t number_in(const std::string& file) {
        pid_t number = 0;
        turn_until([&] { return static_cast<bool>(std::ifstream(file) >> number); });
        return number;
    }
    // Z: nobody has asked for its end yet; X: seen while it vanishes (proc(5)).
    static bool is_alive(pid_t pid) {
        std::ifstream input("/proc/" + std::to_string(pid) + "/stat");
        std::string stat;
        std::getline(input, stat);
        const std::size_t end = stat.rfind(") ");
        return end != std::string::npos && stat[end + 2] != 'Z' && stat[end + 2] != 'X';
    }

    TemporaryDirectory directory_;
    Lines lines_;
    std::unique_ptr<UringLoop> loop_;
    ApplicationOptions options_;
    std::unique_ptr<Application> application_;
};

TEST_F(ApplicationTest, WithoutCommandsNeverFails) {
    make();
    EXPECT_EQ(application_->state(), ApplicationState::none);
    EXPECT_TRUE(start().ok);
    EXPECT_TRUE(stop().ok);
    EXPECT_EQ(application_->state(), ApplicationState::none);
}

TEST_F(ApplicationTest, SaysHowACommandEnded) {
    options_.start = "exit 3";
    options_.stop = "kill -9 $$";
    make();
    EXPECT_EQ(start().sentence, "ended with status 3");
    EXPECT_EQ(application_->state(), ApplicationState::failed);
    EXPECT_EQ(stop().sentence, "was killed by signal 9 (Killed)");
    EXPECT_EQ(application_->state(), ApplicationState::failed);
}

TEST_F(ApplicationTest, LogsLinesWithTheirOrigin) {
    options_.start =
        "echo one; echo $GEMEL_MIRROR $GEMEL_NODE >&2; printf 'a\\001b'; read x || echo no input";
    make();
    EXPECT_TRUE(start().ok);
    EXPECT_EQ(application_->state(), ApplicationState::running);
    EXPECT_EQ(lines_.all(), (std::vector<std::string>{"db: start: one", "db: start: db alpha",
                                                      "db: start: a?bno input"}));
}

TEST_F(ApplicationTest, KillsTheWholeGroupWhenTheTimeIsOver) {
    options_.start = "trap '' TERM; sleep 1000 & echo $! > " + path("pid") + "; wait; wait";
    options_.start_timeout = Duration::seconds(1);
    make();
    const CommandOutcome outcome = start();
    EXPECT_FALSE(outcome.ok);
    EXPECT_EQ(outcome.sentence, "did not end within 1 s and was killed");
    // The command has ended; the others of its group, killed with it, do so by themselves.
    const pid_t pid = number_in(path("pid"));
    turn_until([&] { return !is_alive(pid); });
    EXPECT_EQ(application_->state(), ApplicationState::failed);
}

TEST_F(ApplicationTest, LeavesWhatTheStartCommandStartedRunningUntilTheStop) {
    options_.start = "(echo early; sleep 1000; echo never) & echo $! > " + path("pid");
    make();
    EXPECT_TRUE(start().ok);
    const pid_t pid = number_in(path("pid"));
    EXPECT_TRUE(is_alive(pid));
    EXPECT_TRUE(stop().ok);
    EXPECT_FALSE(is_alive(pid));
    EXPECT_EQ(application_->state(), ApplicationState::stopped);
}

TEST_F(ApplicationTest, KillsWhatIgnoresItsEnd) {
    options_.start = "(trap '' TERM; echo up > " + path("up") +
                     "; while :; do sleep 0.05; done) & echo $! > " + path("pid");
    options_.stop_timeout = Duration::milliseconds(100);
    make();
    EXPECT_TRUE(start().ok);
    turn_until([&] { return std::ifstream(path("up")).good(); });
    const CommandOutcome outcome = stop();
    EXPECT_FALSE(outcome.ok);
    EXPECT_EQ(outcome.sentence,
              "what the start command had left running did not end in time and was killed");
    EXPECT_FALSE(is_alive(number_in(path("pid"))));
}

TEST_F(ApplicationTest, RunsTheStopCommandBeforeItEndsTheGroup) {
    options_.start = "(trap 'echo term >> " + path("order") + "; exit 0' TERM; echo up > " +
                     path("up") + "; while :; do sleep 0.02; done) &";
    options_.stop = "echo stop >> " + path("order");
    make();
    EXPECT_TRUE(start().ok);
    turn_until([&] { return std::ifstream(path("up")).good(); });
    EXPECT_TRUE(stop().ok);
    std::ifstream input(path("order"));
    std::string first, second;
    input >> first >> second;
    EXPECT_EQ(first + " " + second, "stop term");
}

TEST_F(ApplicationTest, EndsAStartCommandThatIsStillRunningWhenToldToStop) {
    options_.start = "echo $$ > " + path("pid") + "; sleep 1000; echo never";
    options_.stop = "echo stopped > " + path("stopped");
    make();
    std::vector<std::string> order;
    application_->start([&](const CommandOutcome& outcome) {
        EXPECT_FALSE(outcome.ok);
        order.push_back(outcome.sentence);
    });
    const pid_t pid = number_in(path("pid"));
    EXPECT_EQ(application_->state(), ApplicationState::starting);
    EXPECT_TRUE(stop().ok);
    EXPECT_EQ(order, std::vector<std::string>{"was ended before it had done its work"});
    EXPECT_FALSE(is_alive(pid));
    EXPECT_TRUE(std::ifstream(path("stopped")).good());
    EXPECT_EQ(application_->state(), ApplicationState::stopped);
}

TEST_F(ApplicationTest, StartsAgainAfterAStop) {
    options_.start = "echo up >> " + path("count");
    options_.stop = "true";
    make();
    for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(start().ok);
        EXPECT_TRUE(stop().ok);
    }
    std::ifstream input(path("count"));
    const std::string text{std::istreambuf_iterator<char>(input), {}};
    EXPECT_EQ(text, "up\nup\nup\n");
}

TEST_F(ApplicationTest, LeavesItsProcessesAloneWhenDestroyed) {
    options_.start = "sleep 1000 > /dev/null 2>&1 & echo $! > " + path("pid");
    make();
    EXPECT_TRUE(start().ok);
    const pid_t pid = number_in(path("pid"));
    application_.reset();
    EXPECT_TRUE(is_alive(pid));
    kill(pid, SIGKILL);
}

TEST_F(ApplicationTest, CallsNobodyAfterItWasDestroyed) {
    options_.start = "sleep 1000 & echo $$ > " + path("pid") + "; wait";
    make();
    application_->start([](const CommandOutcome&) { FAIL() << "called"; });
    const pid_t pid = number_in(path("pid"));
    application_.reset();
    kill(-pid, SIGKILL);
    loop_->turn(Duration::milliseconds(50));
}

TEST(FuseMountDevices, TakesFuseMountsAtExactlyThesePlaces) {
    const std::string mountinfo =
        "21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
        "36 21 0:41 / /srv/db ro shared:9 - tmpfs guard ro\n"
        "37 36 0:42 / /srv/db rw shared:9 master:3 - fuse.gemel db rw,user_id=0\n"
        "38 21 0:43 / /srv/a\\040b rw - fuse gemel rw\n"
        "39 21 0:44 / /srv/other rw - fuse.sshfs x rw\n"
        "40 21 254:1 /x /srv/bare rw - ext4 /dev/vda1 rw\n"
        "41 21 8:1 / /srv/disk rw - fuseblk /dev/sda1 rw\n"
        "torn line - fuse\n\n";
    EXPECT_EQ(fuse_mount_devices(mountinfo, {"/srv/db", "/srv/a b", "/srv/bare", "/", "/srv/disk"}),
              (std::vector<std::uint64_t>{makedev(0, 42), makedev(0, 43)}));
    EXPECT_TRUE(fuse_mount_devices(mountinfo, {"/srv"}).empty());
    EXPECT_TRUE(find_users({}).empty());
}

}  // namespace
}  // namespace gemel
