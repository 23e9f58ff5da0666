// SPDX-License-Identifier: Apache-2.0
// A volume in memory, both of whose nodes may lose their power: of what was written since the last
// flush, each sector of 512 bytes is then old, new, or anything in between. After a chosen number
// of requests it serves no longer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <gemel/mirror.hpp>
#include <map>
#include <random>
#include <vector>

namespace examples::test {

class ForgetfulVolume final : public libgemel::Volume {
   public:
    using Image = std::vector<std::byte>;

    // Requests above `requests_max` are answered as those of a node that was deposed.
    ForgetfulVolume(Image image, std::size_t requests_max)
        : durable_(std::move(image)), current_(durable_), requests_max_(requests_max) {}

    [[nodiscard]] std::size_t requests() const { return requests_; }
    // What a power cut of both nodes leaves.
    Image image_after_power_cut(unsigned seed) {
        std::mt19937 chance(seed);
        Image image = durable_;
        for (const auto& [sector, versions] : unsynced_) {
            const std::size_t choice = chance() % (versions.size() + 1);
            if (choice == versions.size()) continue;  // as it was
            std::copy(versions[choice].begin(), versions[choice].end(), at(image, sector));
        }
        return image;
    }

    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    [[nodiscard]] libgemel::Mirror& mirror() noexcept override { std::abort(); }
    [[nodiscard]] std::uint64_t size() const noexcept override { return current_.size(); }
    [[nodiscard]] std::uint32_t block_size() const noexcept override { return 4096; }
    [[nodiscard]] std::uint32_t request_size_max() const noexcept override { return 1 << 20; }

    void read(std::uint64_t offset, std::span<std::byte> data, libgemel::Completion done) override {
        if (is_gone()) return done(libgemel::Error::not_serving);
        std::memcpy(data.data(), &current_[offset], data.size());
        done(libgemel::Error::none);
    }
    void write(std::uint64_t offset, std::span<const std::byte> data, libgemel::Completion done,
               libgemel::Durability durability) override {
        if (is_gone()) return done(libgemel::Error::outcome_unknown);
        std::memcpy(&current_[offset], data.data(), data.size());
        const std::size_t end = offset + data.size();
        for (std::size_t sector = offset / kSector; sector * kSector < end; ++sector) {
            const auto begin = at(current_, sector);
            unsynced_[sector].emplace_back(begin, begin + kSector);
            if (durability == libgemel::Durability::durable) make_durable(sector);
        }
        done(libgemel::Error::none);
    }
    void zero(std::uint64_t offset, std::uint64_t size, libgemel::Completion done,
              libgemel::Durability durability) override {
        write(offset, Image(size), std::move(done), durability);
    }
    void trim(std::uint64_t, std::uint64_t, libgemel::Completion done) override {
        done(libgemel::Error::none);
    }
    void flush(libgemel::Completion done) override {
        if (is_gone()) return done(libgemel::Error::outcome_unknown);
        while (!unsynced_.empty()) make_durable(unsynced_.begin()->first);
        done(libgemel::Error::none);
    }

   private:
    static constexpr std::size_t kSector = 512;

    static Image::iterator at(Image& image, std::size_t sector) {
        return image.begin() + static_cast<std::ptrdiff_t>(sector * kSector);
    }
    void make_durable(std::size_t sector) {
        std::copy_n(at(current_, sector), kSector, at(durable_, sector));
        unsynced_.erase(sector);
    }
    bool is_gone() { return requests_++ >= requests_max_; }

    const std::string name_ = "disk0";
    Image durable_, current_;
    std::map<std::size_t, std::vector<Image>> unsynced_;  // by sector, oldest first
    std::size_t requests_ = 0, requests_max_;
};

}  // namespace examples::test
