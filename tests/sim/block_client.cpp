// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/block_client.hpp"

#include "engine/io/sim/loop.hpp"

#include <algorithm>
#include <cstring>
#include <linux/falloc.h>

namespace gemel::sim {

namespace {

constexpr std::size_t kDepthMax = 6;
constexpr std::uint64_t kBlockSectors = kBlockUnit / BlockClient::kSector;

// A sector that was torn or comes from elsewhere is none of these.
std::uint64_t word_of(std::uint64_t value, std::size_t place) {
    return value == 0 ? 0 : value * 0x9E37'79B9'7F4A'7C15 + place;
}

void fill(MutableBytes sector, std::uint64_t value) {
    for (std::size_t at = 0; at < sector.size(); at += 8) {
        const std::uint64_t word = at == 0 ? value : word_of(value, at);
        std::memcpy(sector.data() + at, &word, sizeof word);
    }
}

// ~0: no whole content of one write.
std::uint64_t value_of(Bytes sector) {
    std::uint64_t value = 0;
    std::memcpy(&value, sector.data(), sizeof value);
    ByteBuffer whole(sector.size());
    fill(whole, value);
    return std::equal(whole.begin(), whole.end(), sector.begin()) ? value : ~std::uint64_t{0};
}

}  // namespace

BlockClient::BlockClient(World& world, std::uint64_t volume_size,
                         std::function<SimMount*()> serving,
                         std::function<void(const std::string&)> fail)
    : world_(world),
      serving_(std::move(serving)),
      fail_(std::move(fail)),
      volume_size_(volume_size) {
    // The beginning, both sides of the bound of two regions of intents, and the end.
    stretches_ = {0, kIntentRegionSize - kStretch / 2 * kSector, volume_size - kStretch * kSector};
    known_.resize(stretches_.size() * kStretch);
}

std::uint64_t BlockClient::offset_of(std::uint64_t index) const {
    return stretches_[index / kStretch] + index % kStretch * kSector;
}

void BlockClient::start() {
    stopped_ = false;
    schedule();
}

bool BlockClient::is_idle() const noexcept { return stopped_ && under_way_.empty(); }

void BlockClient::schedule() {
    if (std::exchange(scheduled_, true)) return;
    const Duration pause{static_cast<std::int64_t>(prng().between(20'000, 2'000'000))};
    world_.at(std::max(world_.now() + pause, rests_until_), [this] {
        scheduled_ = false;
        step();
    });
}

void BlockClient::step() {
    give_up_lost();
    if (stopped_ && under_way_.empty()) return;
    if (!stopped_) {
        if (prng().one_in(60)) {
            rests_until_ = world_.now() +
                           Duration::milliseconds(static_cast<std::int64_t>(prng().below(4000)));
        }
        SimMount* mount = serving_();
        if (mount != nullptr && under_way_.size() < kDepthMax) {
            // Inside the process, which may die at any of the calls that this makes.
            mount->loop->post([this, mount, alive = mount->generation] {
                if (mount == serving_() && mount->generation == alive) act(*mount);
            });
        }
    }
    schedule();
}

// What was under way through a mount that has ended: it may have taken effect.
void BlockClient::give_up_lost() {
    std::erase_if(under_way_, [this](const std::shared_ptr<Request>& request) {
        if (!request->over && request->generation != request->mount->generation) {
            end(*request, Status(Code::cancelled));
        }
        return request->over;
    });
}

void BlockClient::note_takeover(const SimMount& mount) {
    const bool is_same = used_ == &mount && used_generation_ == mount.generation;
    if (answers_early_ && used_ != nullptr && !is_same) {
        give_up_lost();
        unflushed_may_be_lost();
    }
    used_ = &mount;
    used_generation_ = mount.generation;
}

void BlockClient::act(SimMount& mount) {
    note_takeover(mount);
    if (!has_its_size(mount)) return;
    if (prng().one_in(300)) grow(mount);
    if (prng().one_in(4)) look(mount, prng().below(known_.size()));
    const std::uint64_t burst = prng().between(1, 3);
    for (std::uint64_t i = 0; i < burst; ++i) {
        prng().one_in(12) ? flush(mount) : change(mount);
    }
}

bool BlockClient::has_its_size(SimMount& mount) {
    const std::uint64_t size = mount.replica->volume(kVolume).as_block()->size();
    if (size >= volume_size_) return true;
    fail_(mount.node + ": the volume has " + std::to_string(size) + " bytes, and had " +
          std::to_string(volume_size_));
    return false;
}

// By more than is used of it: what lies between keeps the ends apart.
void BlockClient::grow(SimMount& mount) {
    if (growing_) return;
    growing_ = true;
    const std::uint64_t size =
        mount.replica->volume(kVolume).as_block()->size() + 2 * kStretch * kSector;
    world_.at(world_.now() + Duration::seconds(10), [this] { growing_ = false; });
    mount.replica->grow(kVolume, size,
                        [this, size, &mount, alive = mount.generation](Status status, const auto&) {
                            // Or nobody has told it.
                            if (!status.ok() || mount.generation != alive) return;
                            // Alone, who still takes himself for its secondary does not count.
                            const bool with_peer = mount.replica->role() == ReplicaRole::primary;
                            const std::string wrong = with_peer ? check_growth_(size) : "";
                            if (!wrong.empty()) fail_(wrong);
                            volume_size_ = size;
                            ++grown_;
                            stretches_.push_back(size - kStretch * kSector);
                            known_.resize(stretches_.size() * kStretch);
                        });
}

std::shared_ptr<BlockClient::Request> BlockClient::begin(SimMount& mount) {
    auto request = std::make_shared<Request>();
    request->began = ++clock_;
    request->generation = mount.generation;
    request->mount = &mount;
    under_way_.push_back(request);
    return request;
}

void BlockClient::change(SimMount& mount) {
    const std::shared_ptr<Request> request = begin(mount);
    const std::uint64_t stretch = prng().below(stretches_.size()) * kStretch;
    auto op = std::make_unique<SimOp>();
    op->op.volume = kVolume;
    op->op.object = kBlockObject;
    const bool zeroes = prng().one_in(8);
    if (zeroes) {
        request->count = kBlockSectors * prng().between(1, 3);
        request->first =
            stretch + prng().below((kStretch - request->count) / kBlockSectors) * kBlockSectors;
        op->op.kind = OpKind::allocate;
        op->op.flags = prng().one_in(2) ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
        op->op.flags |= FALLOC_FL_KEEP_SIZE;
    } else {
        request->count = prng().between(1, 20);
        request->first = stretch + prng().below(kStretch - request->count + 1);
        op->op.kind = OpKind::write;
        op->data.resize(request->count * kSector);
        for (std::uint64_t i = 0; i < request->count; ++i) {
            fill(MutableBytes(op->data).subspan(i * kSector, kSector), request->began);
        }
    }
    op->op.offset = offset_of(request->first);
    op->op.size = request->count * kSector;
    const Version version{zeroes ? 0 : request->began, request->began, kNever};
    for (std::uint64_t i = 0; i < request->count; ++i) {
        known_[request->first + i].possible.push_back(version);
        known_[request->first + i].kept.push_back(version);
    }
    mount.submit(std::move(op), [this, request](Status status) { end(*request, status); });
}

void BlockClient::flush(SimMount& mount) {
    const std::shared_ptr<Request> request = begin(mount);
    for (const Sector& sector : known_) request->snapshot.push_back(sector.possible);
    mount.sync(
        kBlockObject, [this, request](Status status) { end(*request, status); }, kVolume);
}

// Answered, or its outcome will never be known.
void BlockClient::end(Request& request, Status status) {
    if (request.over) return;
    request.over = true;
    ++clock_;
    if (status.ok()) ++answered_;
    if (request.count == 0) {
        if (status.ok()) flushed(request);
        return;
    }
    for (std::uint64_t i = 0; i < request.count; ++i) {
        Sector& sector = known_[request.first + i];
        for (Versions* versions : {&sector.possible, &sector.kept}) {
            for (Version& version : *versions) {
                if (version.began == request.began) version.ended = clock_;
            }
        }
        // What was over before it began has been replaced by it.
        if (status.ok()) {
            std::erase_if(sector.possible,
                          [&](const Version& version) { return version.ended < request.began; });
        }
    }
}

void BlockClient::flushed(const Request& request) {
    for (std::size_t i = 0; i < request.snapshot.size(); ++i) {
        const Versions& then = request.snapshot[i];
        std::erase_if(known_[i].kept, [&](const Version& version) {
            if (version.began > request.began) return false;
            return std::none_of(then.begin(), then.end(),
                                [&](const Version& one) { return one.began == version.began; });
        });
    }
}

void BlockClient::unflushed_may_be_lost() {
    for (Sector& sector : known_) sector.possible = sector.kept;
}

void BlockClient::look(SimMount& mount, std::uint64_t index) {
    BlockVolume* volume = mount.replica->volume(kVolume).as_block();
    ByteBuffer bytes(kSector);
    const Result<Fd> fd = volume->data_fd(kBlockObject);
    const Result<std::size_t> got = mount.loop->vfs().pread(fd.value(), bytes, offset_of(index));
    if (!got.ok() || got.value() != bytes.size()) return;  // the disk's, or the process has died
    const std::uint64_t value = value_of(bytes);
    const Versions& possible = known_[index].possible;
    const bool known = std::any_of(possible.begin(), possible.end(),
                                   [&](const Version& one) { return one.value == value; });
    if (known) return;
    fail_(mount.node + ": the sector at " + std::to_string(offset_of(index)) + " holds " +
          std::to_string(value) + ", which is none of " + std::to_string(possible.size()) +
          " possible contents, the last one " + std::to_string(possible.back().value));
}

void BlockClient::verify(SimMount& mount) {
    GEMEL_ASSERT(is_idle());
    mount.loop->post([this, &mount] {
        note_takeover(mount);
        if (!has_its_size(mount)) return;
        for (std::uint64_t i = 0; i < known_.size(); ++i) look(mount, i);
    });
}

std::string compare_backings(FileSystem& left, FileSystem& right, std::string_view name,
                             std::uint64_t size) {
    const Result<Inode*> a = left.lookup(left.root(), name);
    const Result<Inode*> b = right.lookup(right.root(), name);
    if (!a.ok() || !b.ok()) return "a backing is missing";
    // A file may be longer: a size that was given up is not cut off.
    const std::uint64_t there = std::min(left.stat(*a.value()).size, right.stat(*b.value()).size);
    if (there < size) return "a backing is too short";
    ByteBuffer ours(64 * kKiB);
    ByteBuffer theirs(kMiB);
    for (std::uint64_t offset = 0; offset < size; offset += ours.size()) {
        std::fill(ours.begin(), ours.end(), std::byte{0});
        theirs = ours;
        if (!left.read(*a.value(), ours, offset).ok()) return "a backing can't be read";
        if (!right.read(*b.value(), theirs, offset).ok()) return "a backing can't be read";
        const auto at = std::mismatch(ours.begin(), ours.end(), theirs.begin()).first;
        const auto where = offset + static_cast<std::uint64_t>(at - ours.begin());
        if (at == ours.end() || where >= size) continue;
        return "the backings differ at " + std::to_string(where);
    }
    return {};
}

}  // namespace gemel::sim
