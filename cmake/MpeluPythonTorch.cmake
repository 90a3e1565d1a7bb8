# Tells MpeluTorch.cmake where the torch of the Python interpreter that runs the build lies.

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c
          "from importlib.util import find_spec; spec = find_spec('torch'); \
print(spec.submodule_search_locations[0] if spec else '')"
  OUTPUT_VARIABLE MPELU_TORCH_HINTS
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
