// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/replica_context.hpp"

#include "engine/mirror/messages.hpp"

namespace gemel {

void ReplicaContext::send_number(FrameType type, std::uint64_t number) noexcept {
    if (link == nullptr) return;
    scratch.clear();
    encode_number(number, scratch);
    link->send(type, scratch);
}

void ReplicaContext::local_failure(Status reason, std::string_view what) noexcept {
    std::string text(what);
    text += ": ";
    text += reason.to_string();
    events.on_local_failure(reason, text);
}

void ReplicaContext::drop_link() noexcept {
    if (link == nullptr) return;
    link->close();
    shipping = false;
    // The link may be calling us right now.
    loop.post([retired = std::shared_ptr<PeerLink>(std::move(link))] {});
}

Status as_disk_failure(Status status) noexcept {
    return is_disk_failure(status) ? status : Status::from_errno(EIO);
}

bool is_disk_failure(Status status) noexcept {
    if (status.ok()) return false;
    if (status.code() == Code::corrupt) return true;
    switch (status.error()) {
        case EIO:
        case EROFS:    // the kernel remounted the file system after an error
        case EUCLEAN:  // EFSCORRUPTED of ext4 and XFS
        case EBADMSG:  // EFSBADCRC
        case ENXIO:
        case ENODEV:
            return status.code() == Code::errno_failure;
        default:
            return false;
    }
}

}  // namespace gemel
