// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/connection.hpp"

#include "frontends/fuse/dev_fuse_transport.hpp"
#include "frontends/fuse/session.hpp"

namespace gemel {

class FuseConnection::Impl {
   public:
    Impl(Loop& loop, LogSink& log, FuseTarget& target, std::unique_ptr<FuseTransport> given,
         const Options& options) noexcept
        : transport(std::move(given)),
          session(loop, log, target, *transport, {options.volume, options.read_only}) {}

    std::unique_ptr<FuseTransport> transport;
    fuse::Session session;
};

FuseConnection::FuseConnection(Loop& loop, LogSink& log, FuseTarget& target,
                               std::unique_ptr<FuseTransport> transport,
                               const Options& options) noexcept
    : impl_(std::make_unique<Impl>(loop, log, target, std::move(transport), options)) {}

FuseConnection::FuseConnection(Loop& loop, LogSink& log, FuseTarget& target, int device,
                               const Options& options) noexcept
    : FuseConnection(
          loop, log, target,
          std::make_unique<DevFuseTransport>(loop, log, device, DevFuseTransport::Options()),
          options) {}

FuseConnection::~FuseConnection() = default;

void FuseConnection::start(std::function<void(Status)> ended) noexcept {
    impl_->session.start(std::move(ended));
}

void FuseConnection::close() noexcept { impl_->session.close(); }

std::uint64_t FuseConnection::received(std::uint32_t opcode) const noexcept {
    return opcode < fuse::kOpcodeCount ? impl_->session.received()[opcode] : 0;
}

std::size_t FuseConnection::in_progress() const noexcept { return impl_->session.in_progress(); }

std::size_t FuseConnection::open_objects() const noexcept { return impl_->session.opened().size(); }

}  // namespace gemel
