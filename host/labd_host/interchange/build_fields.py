"""The fields of FINN's build configurations that labd does not follow, and what it does instead.

Source: finn-plus 1.6.1, builder/build_dataflow_config.py DataflowBuildConfig; those it no longer has are Xilinx
FINN's, 0.5 to 0.10. tests/host/interchange/test_build_config.py compares with the installed finn-plus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

FOLLOWED = (
    "model_path", "output_dir", "synth_clk_period_ns", "folding_config_file", "target_fps", "board", "fpga_part",
    "shell_flow_type", "validation_dataset", "verify_steps", "verify_input_npy", "verify_expected_output_npy",
    "generate_outputs", "hls_clk_period_ns", "auto_fifo_depths",
)  # fmt: skip


class Instead(NamedTuple):
    """What labd does about a field.

    Attributes:
        done: In a few words.
        alike: Values with which FINN does the same, so that nothing needs to be told.
    """

    done: str
    alike: tuple[Any, ...] = ()


_STAGES = "labd runs its own stages in their order, each compared with the one before"
_FIFOS = "labd sizes the FIFOs with its own cycle simulator, by FINN's rule"
_ZYNQ = "labd builds the Zynq shell of the Pynq-Z2, which has none"
_SEARCH = "labd's search chooses PE, SIMD and memories by their cost"
_NO_RTLSIM = "labd runs no RTL simulation: its cycle simulator stands for it (labd simulate)"
_KEPT = "labd keeps every stage with its proof, beside the bundle"
_ONE = "labd builds for one FPGA and one network"
_EXACT = "labd compares integers exactly, and classes"
_TOLD = "labd prints the stages and their proofs; FINN's own words are in finn.log"

INSTEAD: Mapping[str, Instead] = {
    "config_path": Instead("labd takes the file's own place"),
    "steps": Instead(_STAGES),
    "start_step": Instead(_STAGES),
    "stop_step": Instead(_STAGES),
    "inject_steps_after": Instead(_STAGES, ({},)),
    "inject_steps_before": Instead(_STAGES, ({},)),
    "specialize_layers_config_file": Instead("labd leaves HLS or RTL to FINN's own choice"),
    "layouts_config_file": Instead("labd reads the layout off the network"),
    "mvau_wwidth_max": Instead(_SEARCH),
    "folding_two_pass_relaxation": Instead(_SEARCH),
    "standalone_thresholds": Instead("labd leaves thresholds in the MVAU in front of them", (False,)),
    "requant_bitwidth_threshold": Instead("labd builds thresholds, no Requant", (9,)),
    "minimize_bit_width": Instead("labd leaves accumulators as wide as FINN makes them", (False,)),
    "infer_shuffle_skip_first": Instead(
        "labd takes pictures as the board has them, without a Shuffle", (True,)
    ),
    "max_multithreshold_bit_width": Instead(
        "labd takes what it can build, and refuses the rest by name", (8,)
    ),
    "fifo_config_file": Instead(_FIFOS),
    "auto_fifo_strategy": Instead(_FIFOS),
    "large_fifo_mem_style": Instead("labd leaves the memory of a FIFO to the RTL", ("auto",)),
    "functional_simulation": Instead(_NO_RTLSIM),
    "fifosim_save_waveform": Instead(_NO_RTLSIM, (False,)),
    "debug_fifo": Instead(_NO_RTLSIM, (False,)),
    "fifosim_comm_mode": Instead(_NO_RTLSIM),
    "fifosim_mpi_launcher": Instead(_NO_RTLSIM),
    "fifosim_mpi_oversubscribe": Instead(_NO_RTLSIM),
    "fifosim_mpi_args": Instead(_NO_RTLSIM, ("",)),
    "fifosim_mpi_hosts": Instead(_NO_RTLSIM),
    "verify_save_full_context": Instead(_KEPT, (True,)),
    "verify_save_rtlsim_waveforms": Instead(_NO_RTLSIM, (False,)),
    "verify_nodewise_report": Instead(_KEPT, (True,)),
    "verify_rtlsim_behavioral": Instead(_NO_RTLSIM, (False,)),
    "verification_atol": Instead(_EXACT),
    "verification_rtol": Instead(_EXACT),
    "verification_mean_atol": Instead(_EXACT),
    "verification_mean_rtol": Instead(_EXACT),
    "stitched_ip_gen_dcp": Instead("labd writes no .dcp", (False,)),
    "signature": Instead("labd writes no signature into the design"),
    "vitis_platform": Instead(_ZYNQ),
    "vitis_floorplan_file": Instead(_ZYNQ),
    "vitis_opt_strategy": Instead(_ZYNQ, ("0", "default")),
    "vitis_iodma_intf_max_width": Instead(_ZYNQ, (512,)),
    "fpga_memory": Instead(_ZYNQ, ("default",)),
    "save_intermediate_models": Instead(_KEPT, (True,)),
    "enable_exception_snapshots": Instead(_KEPT, (False,)),
    "enable_hw_debug": Instead("labd puts no ILA into the design", (False,)),
    "enable_instrumentation": Instead("labd puts no instrumentation into the design", (False,)),
    "instrumentation_no_dma": Instead("labd puts no instrumentation into the design", (False,)),
    "instrumentation_avg_n": Instead("labd puts no instrumentation into the design", (64,)),
    "enable_build_pdb_debug": Instead("labd starts no debugger", (False,)),
    "verbose": Instead(_TOLD, (False,)),
    "console_log_level": Instead(_TOLD, ("NONE", "ERROR", "none", "error")),
    "partitioning_configuration": Instead(_ONE),
    "mlo": Instead(_ONE, (False,)),
    "loop_body_hierarchy": Instead(_ONE),
    "loop_body_range": Instead(_ONE),
    "multi_dnn_config_path": Instead(_ONE),
    "cpp_driver_version": Instead("labd writes no C++ driver", ("latest",)),
    "vivado_power_simulate_activity": Instead("labd estimates no power"),
    "vivado_power_simulation_type": Instead("labd estimates no power"),
    "experiments_config_path": Instead("labd experiments has a request file of its own"),
    # of Xilinx FINN
    "split_large_fifos": Instead(_FIFOS, (False,)),
    "fifosim_n_inferences": Instead(_FIFOS),
    "fifosim_input_throttle": Instead(_FIFOS),
    "default_swg_exception": Instead(_FIFOS, (False,)),
    "force_python_rtlsim": Instead(_NO_RTLSIM, (False,)),
    "rtlsim_batch_size": Instead(_NO_RTLSIM, (1,)),
    "rtlsim_use_vivado_comps": Instead(_NO_RTLSIM),
    "input_range_info": Instead("labd takes the range of the input's type"),
    "default_mem_mode": Instead("labd takes mem_mode from the folding"),
    "force_rtl_conv_inp_gen": Instead("labd's windows are FINN's RTL", (True,)),
}
