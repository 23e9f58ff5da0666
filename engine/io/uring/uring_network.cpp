// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/uring_network.hpp"

#include "engine/io/uring/posix_call.hpp"
#include "engine/io/uring/uring_datagram.hpp"
#include "engine/io/uring/uring_stream.hpp"

#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace gemel {
namespace {

constexpr int kBacklog = 128;
// After an error that would come again at once (no descriptors left).
constexpr __kernel_timespec kAcceptPause{0, 100'000'000};
// How long sent bytes may stay unacknowledged (tcp(7)); the kernel's own patience is a quarter of
// an hour.
constexpr int kStreamPatienceMs = 30'000;

class ListenerCore {
   public:
    ListenerCore(UringNetwork& network, Socket socket, ListenerHandler& handler) noexcept
        : network_(network),
          socket_(std::move(socket)),
          handler_(&handler),
          multishot_(network.ring().has_multishot()) {}

    void start() noexcept { arm(); }
    void close() noexcept {
        handler_ = nullptr;
        // Refuses connections from now on, although the descriptor lives until the operation ends.
        ::shutdown(socket_.descriptor(), SHUT_RDWR);
        if (accept_.is_in_flight()) network_.ring().cancel(accept_);
        if (pause_.is_in_flight()) network_.ring().cancel(pause_);
    }

    std::size_t reference_count = 0;

   private:
    void arm() noexcept {
        ++reference_count;
        network_.ring().prepare(accept_, [this](io_uring_sqe* entry) {
            const int fd = socket_.descriptor();
            if (multishot_) {
                io_uring_prep_multishot_accept(entry, fd, nullptr, nullptr, SOCK_CLOEXEC);
            } else {
                io_uring_prep_accept(entry, fd, nullptr, nullptr, SOCK_CLOEXEC);
            }
        });
    }
    void pause() noexcept {
        ++reference_count;
        network_.ring().prepare(pause_, [this](io_uring_sqe* entry) {
            pause_time_ = kAcceptPause;
            io_uring_prep_timeout(entry, &pause_time_, 0, 0);
        });
    }
    void on_accepted(int result, unsigned) noexcept {
        const Reference<ListenerCore> alive(*this);
        if (!accept_.is_in_flight()) --reference_count;
        if (result >= 0) {
            Socket socket(result);
            if (handler_ != nullptr) handler_->on_accepted(network_.make_stream(std::move(socket)));
        }
        if (handler_ == nullptr || accept_.is_in_flight()) return;
        if (result == -EINVAL && multishot_) {
            multishot_ = false;  // Linux before 5.19
            arm();
        } else if (result >= 0 || result == -ECONNABORTED || result == -EINTR) {
            arm();
        } else {
            pause();
        }
    }
    void on_pause_over(int, unsigned) noexcept {
        const Reference<ListenerCore> alive(*this);
        --reference_count;
        if (handler_ != nullptr) arm();
    }

    UringNetwork& network_;
    Socket socket_;
    ListenerHandler* handler_;
    bool multishot_;
    __kernel_timespec pause_time_{};
    MemberOp<ListenerCore, &ListenerCore::on_accepted> accept_{*this};
    MemberOp<ListenerCore, &ListenerCore::on_pause_over> pause_{*this};
};

class UringListener final : public Listener {
   public:
    // `path`: to remove at the end, or empty.
    UringListener(UringNetwork& network, Socket socket, ListenerHandler& handler,
                  std::string path = {}) noexcept
        : count_(network),
          core_(*new ListenerCore(network, std::move(socket), handler)),
          path_(std::move(path)) {
        core_->start();
    }
    ~UringListener() override {
        core_->close();
        if (!path_.empty()) ::unlink(path_.c_str());
    }

   private:
    UringNetwork::HandleCount count_;
    Reference<ListenerCore> core_;
    std::string path_;
};

class ConnectCore {
   public:
    ConnectCore(UringNetwork& network, ConnectHandler& handler) noexcept
        : network_(network), handler_(&handler) {}

    // `socket`: to connect, or why there is none.
    void start(Result<Socket> socket, const RawAddress& remote) noexcept {
        failure_ = socket.status();
        if (socket.ok()) socket_ = std::move(socket).value();
        remote_ = remote;
        ++reference_count;
        network_.ring().prepare(connect_, [this](io_uring_sqe* entry) {
            if (failure_.ok()) {
                io_uring_prep_connect(entry, socket_.descriptor(), &remote_.any, remote_.size);
            } else {
                io_uring_prep_nop(entry);  // the failure is told by the loop, like any other
            }
        });
    }
    void abandon() noexcept {
        handler_ = nullptr;
        if (connect_.is_in_flight()) network_.ring().cancel(connect_);
    }

    std::size_t reference_count = 0;

   private:
    void on_connected(int result, unsigned) noexcept {
        const Reference<ConnectCore> alive(*this);
        --reference_count;
        ConnectHandler* handler = std::exchange(handler_, nullptr);
        if (handler == nullptr) return;
        if (failure_.ok() && result < 0) failure_ = Status::from_errno(-result);
        if (failure_.ok()) {
            handler->on_connected(network_.make_stream(std::move(socket_)));
        } else {
            handler->on_connect_failed(failure_);
        }
    }

    UringNetwork& network_;
    Socket socket_;
    RawAddress remote_;
    ConnectHandler* handler_;
    Status failure_;
    MemberOp<ConnectCore, &ConnectCore::on_connected> connect_{*this};
};

class UringConnecting final : public Connecting {
   public:
    UringConnecting(UringNetwork& network, Result<Socket> socket, const RawAddress& remote,
                    ConnectHandler& handler) noexcept
        : count_(network), core_(*new ConnectCore(network, handler)) {
        core_->start(std::move(socket), remote);
    }
    ~UringConnecting() override { core_->abandon(); }

   private:
    UringNetwork::HandleCount count_;
    Reference<ConnectCore> core_;
};

// A socket that is to connect to `remote`, bound to `local` unless that is null.
Result<Socket> open_connecting(const SocketAddress& remote, const SocketAddress* local) noexcept {
    auto socket = Socket::open(remote, SOCK_STREAM);
    if (!socket.ok() || local == nullptr) return socket;
    // Lets the kernel choose the port when it knows both ends (Linux 4.2).
    GEMEL_TRY(socket->set_option(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
    SocketAddress any_port = *local;
    any_port.port = 0;
    GEMEL_TRY(socket->bind(RawAddress(any_port)));
    return socket;
}

// Removes the socket at a path if nobody listens there any more.
void remove_abandoned(const RawAddress& address) noexcept {
    struct stat found {};
    if (::lstat(address.path.sun_path, &found) == -1 || !S_ISSOCK(found.st_mode)) return;
    const Socket probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(probe.descriptor(), &address.any, address.size) == -1 && errno == ECONNREFUSED) {
        ::unlink(address.path.sun_path);
    }
}

}  // namespace

UringNetwork::~UringNetwork() { GEMEL_ASSERT(is_unused() && dirty_.empty()); }

Result<std::unique_ptr<Listener>> UringNetwork::listen(const SocketAddress& local,
                                                       ListenerHandler& handler) noexcept {
    auto socket = Socket::open(local, SOCK_STREAM);
    if (!socket.ok()) return socket.status();
    // A restarted node listens again although connections of its former life linger.
    GEMEL_TRY(socket->set_option(SOL_SOCKET, SO_REUSEADDR, 1));
    GEMEL_TRY(socket->bind(RawAddress(local)));
    if (::listen(socket->descriptor(), kBacklog) == -1) return Status::from_errno(errno);
    return std::unique_ptr<Listener>(
        std::make_unique<UringListener>(*this, std::move(socket).value(), handler));
}

std::unique_ptr<Connecting> UringNetwork::connect(const SocketAddress& remote,
                                                  const SocketAddress* local,
                                                  ConnectHandler& handler) noexcept {
    return std::make_unique<UringConnecting>(*this, open_connecting(remote, local),
                                             RawAddress(remote), handler);
}

Result<std::unique_ptr<Listener>> UringNetwork::listen_local(std::string_view path,
                                                             ListenerHandler& handler) noexcept {
    const auto address = RawAddress::of_path(path);
    if (!address.ok()) return address.status();
    auto socket = Socket::open_local();
    if (!socket.ok()) return socket.status();
    remove_abandoned(address.value());
    // Before it has a name: the file gets the socket's mode, so it is never open to others.
    if (::fchmod(socket->descriptor(), 0600) == -1) return last_error();
    GEMEL_TRY(socket->bind(address.value()));
    if (::listen(socket->descriptor(), kBacklog) == -1) return last_error();
    return std::unique_ptr<Listener>(std::make_unique<UringListener>(
        *this, std::move(socket).value(), handler, std::string(path)));
}

std::unique_ptr<Connecting> UringNetwork::connect_local(std::string_view path,
                                                        ConnectHandler& handler) noexcept {
    const auto address = RawAddress::of_path(path);
    if (!address.ok()) {
        return std::make_unique<UringConnecting>(*this, address.status(), RawAddress(), handler);
    }
    return std::make_unique<UringConnecting>(*this, Socket::open_local(), address.value(), handler);
}

Result<std::unique_ptr<DatagramSocket>> UringNetwork::bind_datagram(
    const SocketAddress& local, DatagramHandler& handler) noexcept {
    auto socket = Socket::open(local, SOCK_DGRAM);
    if (!socket.ok()) return socket.status();
    GEMEL_TRY(socket->bind(RawAddress(local)));
    return std::unique_ptr<DatagramSocket>(
        std::make_unique<UringDatagramSocket>(*this, std::move(socket).value(), handler));
}

std::unique_ptr<Stream> UringNetwork::make_stream(Socket socket) noexcept {
    // Frames are complete when they are sent: waiting for more only delays the peer. A socket that
    // has failed meanwhile refuses this; its first operation then says why.
    [[maybe_unused]] Status status = socket.set_option(IPPROTO_TCP, TCP_NODELAY, 1);
    status = socket.set_option(IPPROTO_TCP, TCP_USER_TIMEOUT, kStreamPatienceMs);
    return std::make_unique<UringStream>(*this, std::move(socket));
}

void UringNetwork::add_dirty(StreamCore& core) noexcept {
    if (core.is_linked()) return;
    ++core.reference_count;
    dirty_.push_back(core);
}

void UringNetwork::flush() noexcept {
    while (StreamCore* core = dirty_.pop_front()) {
        const Reference<StreamCore> alive(*core);
        --core->reference_count;
        core->flush();
    }
}

}  // namespace gemel
