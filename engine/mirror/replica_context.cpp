// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/replica_context.hpp"

#include "engine/mirror/dirty_from_intents.hpp"
#include "engine/mirror/messages.hpp"

#include <utility>

namespace gemel {

void ReplicaContext::touch_in_flight() noexcept {
    const auto touch = [this](std::uint16_t volume, std::uint64_t offset, std::uint64_t size) {
        IntentSet set;
        set.add_content(volume, kBlockObject, offset, size);
        intents.touch(set.keys());
    };
    for (std::size_t i = 0; i < volumes.size(); ++i) {
        const auto index = static_cast<std::uint16_t>(i);
        const BlockVolume* volume = block(index);
        if (volume == nullptr) continue;
        volume->for_each_in_flight(
            [&](std::uint64_t offset, std::uint64_t size) { touch(index, offset, size); });
    }
    for (const ContentRange& range : being_mended) touch(range.volume, range.offset, range.size);
}

void ReplicaContext::object_found(std::uint16_t volume, ObjectId id) noexcept {
    found.emplace_back(volume, id);
    if (role == ReplicaRole::alone) mark_found();
}

// Where everything is compared, they are among that: also where there are too many of them to be
// kept in memory one by one until a peer comes.
void ReplicaContext::mark_found() noexcept {
    constexpr std::size_t kMarksMax = 65'536;
    for (const auto& [volume, id] : std::exchange(found, {})) {
        DirtyMap& map = dirty[volume];
        if (map.is_full()) continue;
        if (link == nullptr && map.object_count() >= kMarksMax) {
            mark_everything(*volumes[volume], map);
        } else {
            map.mark_absent(id);
        }
    }
}

void ReplicaContext::empty_incoming() noexcept {
    for (const auto& volume : volumes) {
        DirectoryVolume* directory = volume->as_directory();
        if (directory == nullptr) continue;
        const Status emptied = directory->empty_directory(kIncomingDirectory);
        if (!emptied.ok()) local_failure(emptied, "incoming objects could not be removed");
    }
}

void ReplicaContext::set_allotment(std::uint32_t tag, std::uint64_t first_sequence) noexcept {
    for (const auto& volume : volumes) {
        DirectoryVolume* directory = volume->as_directory();
        if (directory != nullptr) directory->set_allotment(tag, first_sequence);
    }
}

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
