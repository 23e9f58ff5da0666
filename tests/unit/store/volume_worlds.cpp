// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "tests/unit/store/volume_fixture.hpp"

namespace gemel::volume_test {

namespace {

class SimWorld final : public TestWorld {
   public:
    SimWorld() : world_(1), node_(world_.add_node(options())) {
        node_.make_directories("/test");
        loop_ = &node_.start();
    }
    Loop& loop() noexcept override { return *loop_; }
    std::string directory() const override { return "/test"; }
    void pass(Duration time) override { world_.run_for(time); }
    std::string missing() override { return ""; }

   private:
    static sim::NodeOptions options() {
        sim::NodeOptions options;
        options.name = "a";
        return options;
    }

    sim::World world_;
    sim::Node& node_;
    sim::SimLoop* loop_;
};

}  // namespace

std::unique_ptr<TestWorld> make_sim_world() { return std::make_unique<SimWorld>(); }

std::vector<WorldKind> all_worlds() {
    return {{"posix", make_posix_world}, {"sim", make_sim_world}};
}

}  // namespace gemel::volume_test
