// SPDX-License-Identifier: Apache-2.0
// The NBD server over memory, for real clients: `nbd_test_server DIRECTORY [TCP-ADDRESS]` offers
// there disk.sock (512-byte blocks), coarse.sock (4096-byte blocks), fixed.sock (read-only) and
// refused.sock; the address offers all of them by name. It prints "ready" once it listens. SIGHUP:
// `disk` is refused, SIGUSR1: it is served again (`disk` keeps its content), SIGTERM: the end.
#include "engine/io/uring/uring_loop.hpp"
#include "frontends/nbd/server.hpp"
#include "tests/unit/nbd/memory_export.hpp"

#include <csignal>
#include <cstdio>

namespace {

using namespace gemel;

constexpr std::uint64_t kDiskSize = 1 * kGiB;

volatile std::sig_atomic_t last_signal = 0;

void note(int number) { last_signal = number; }

class StandardError final : public LogSink {
   public:
    void log(LogLevel, std::string_view text) noexcept override {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
    }
};

struct Exports {
    explicit Exports(Loop& loop)
        : disk(loop, "disk", kDiskSize),
          coarse(loop, "coarse", 64 * kMiB),
          fixed(loop, "fixed", 64 * kMiB),
          refused(loop, "refused", kMiB) {
        coarse.own_limits = {4096, 65536, 1024 * 1024};
        fixed.read_only = true;
        refused.reason = "beta serves this mirror";
    }
    test::MemoryExport disk, coarse, fixed, refused;
};

// Until SIGTERM.
void serve(UringLoop& loop, Exports& exports) {
    while (last_signal != SIGTERM) {
        const int number = last_signal;
        last_signal = 0;
        if (number == SIGHUP) {
            exports.disk.refuse("swapped");
            exports.disk.fail_pending(Status(Code::cancelled));
        }
        if (number == SIGUSR1) exports.disk.refuse({});
        loop.turn(Duration::milliseconds(20));
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2 || argc > 3) return 2;
    struct sigaction action {};
    action.sa_handler = note;
    for (const int number : {SIGHUP, SIGUSR1, SIGTERM}) ::sigaction(number, &action, nullptr);
    auto created = UringLoop::create({});
    if (!created.ok()) return 1;
    UringLoop& loop = *created.value();
    StandardError log;
    Exports exports(loop);
    NbdServer server(loop, log, {});
    std::optional<SocketAddress> address;
    if (argc == 3) {
        const auto parsed = SocketAddress::parse(argv[2]);
        if (!parsed.ok()) return 2;
        address = parsed.value();
    }
    test::MemoryExport* all[] = {&exports.disk, &exports.coarse, &exports.fixed, &exports.refused};
    for (test::MemoryExport* exported : all) {
        const std::string path = std::string(argv[1]) + "/" + exported->name() + ".sock";
        const Status status = server.offer(*exported, path, address);
        if (!status.ok()) {
            std::fprintf(stderr, "%s: %s\n", path.c_str(), status.to_string().c_str());
            return 1;
        }
    }
    std::puts("ready");
    std::fflush(stdout);
    serve(loop, exports);
    int left = 0;
    for (test::MemoryExport* exported : all) {
        ++left;
        server.withdraw(*exported, [&left] { --left; });
    }
    while (left > 0) loop.turn(Duration::milliseconds(100));
    while (loop.in_flight() > 0) loop.turn(Duration::milliseconds(100));
    return 0;
}
