// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/mirror_front_ends.hpp"

#include <filesystem>
#include <system_error>
#include <utility>

namespace gemel {

MirrorFrontEnds::MirrorFrontEnds(Loop& loop, LogSink& log, const MirrorConfig& mirror,
                                 Application& application, Place place)
    : loop_(loop),
      log_(log),
      mirror_(mirror),
      run_directory_(place.run_directory),
      mounts_(loop, log, application,
              {mirror.name, mirror.directories, std::move(place.run_directory),
               std::move(place.state_directory)}) {}

MirrorFrontEnds::~MirrorFrontEnds() = default;

Status MirrorFrontEnds::attach(Replica& replica, std::string& why) {
    target_ = std::make_unique<ReplicaTarget>(replica);
    mounts_.set_target(*target_);
    return mirror_.blocks.empty() ? Status() : offer_blocks(replica, why);
}

void MirrorFrontEnds::detach() noexcept {
    nbd_.reset();
    exports_.clear();
    target_.reset();
}

// Each at a socket of its own; refused there until this node serves.
Status MirrorFrontEnds::offer_blocks(Replica& replica, std::string& why) {
    nbd_ = std::make_unique<NbdServer>(loop_, log_, NbdLimits());
    const std::filesystem::path directory =
        std::filesystem::path(run_directory_) / "nbd" / mirror_.name;
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) {
        why = directory.string() + " can't be made: " + error.message();
        return Status::from_errno(error.value());
    }
    for (std::size_t i = 0; i < mirror_.blocks.size(); ++i) {
        const BlockConfig& block = mirror_.blocks[i];
        const auto index = static_cast<std::uint16_t>(mirror_.directories.size() + i);
        auto exported =
            std::make_unique<ReplicaExport>(loop_, replica, index, mirror_.name + "/" + block.name,
                                            "block volume of mirror " + mirror_.name);
        const std::string path = (directory / (block.name + ".sock")).string();
        const Status offered = nbd_->offer(*exported, path, mirror_.listen);
        exports_.push_back(std::move(exported));
        if (offered.ok()) continue;
        why = path + (mirror_.listen ? " and " + mirror_.listen->to_string() : "") +
              " can't be offered: " + offered.to_string();
        return offered;
    }
    refuse("is not served by this node yet");
    return Status();
}

void MirrorFrontEnds::refuse(const std::string& what) {
    for (const auto& one : exports_) one->set_refusal("mirror '" + mirror_.name + "' " + what);
}

void MirrorFrontEnds::begin_use() noexcept {
    for (const auto& one : exports_) one->set_refusal("");
}

void MirrorFrontEnds::show(MountMode mode, std::function<void(Status, std::string)> done) noexcept {
    if (mode == MountMode::secondary) {
        refuse("is served by the other node; this one is its secondary");
    } else if (mode != MountMode::serving) {
        refuse("is not served by this node");
    }
    mounts_.show(mode, std::move(done));
}

void MirrorFrontEnds::abort() noexcept {
    refuse("is not served by this node any more");
    mounts_.abort();
}

void MirrorFrontEnds::drain(std::function<void(Status, std::string)> done) noexcept {
    refuse("is being handed over");
    mounts_.drain(std::move(done));
}

}  // namespace gemel
