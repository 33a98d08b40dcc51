"""Where things lie: rows of the solver's blocks and columns of the cars' records.

A block is a float32 array [ROWS, 16], one car a lane. A car's float32 record
begins with the same STATE_ROWS entries, so a car goes into a lane and back by
plain copying.
"""

from __future__ import annotations

# --- rows of a block; body 0 is the hull, 1 to 4 the wheels; joint j holds wheel j + 1 ---
CENTRE_X, CENTRE_Y, ANGLE = 0, 5, 10
VEL_X, VEL_Y, SPIN = 15, 20, 25
IMPULSE_X, IMPULSE_Y, IMPULSE_Z, MOTOR_IMPULSE = 30, 34, 38, 42
LIMIT = 46
"""The joint's limit state: -1 at the lower limit, 1 at the upper, 0 between."""
STATE_ROWS = 50
FORCE_X, FORCE_Y, MOTOR_SPEED = 50, 54, 58
SIN, COS = 62, 67
R_X, R_Y = 72, 76
K11, K12, K22, K13, K23 = 80, 84, 88, 92, 96
INV_DET2, INV_DET3 = 100, 104
CROSS_X, CROSS_Y, CROSS_Z = 108, 112, 116
TEMP_ANGLE, TEMP_SIN, TEMP_COS = 120, 121, 122
POSITION_SOLVED = 123
SAVED = 124
ITERATED_FIRST, ITERATED_LAST = VEL_X, MOTOR_IMPULSE + 4
"""The rows that the velocity iterations change."""
ROWS = SAVED + ITERATED_LAST - ITERATED_FIRST

# --- columns of a car's float32 record, after the state rows ---
CAR_SIN, CAR_COS, SLEEP_TIME = STATE_ROWS, STATE_ROWS + 5, STATE_ROWS + 10
HULL_X, HULL_Y, JOINT_ANGLE0 = STATE_ROWS + 15, STATE_ROWS + 16, STATE_ROWS + 17
COLUMNS_F32 = STATE_ROWS + 18

# --- columns of its float64 record ---
OMEGA, PHASE = 0, 4
GAS, BRAKE, STEER = 8, 9, 10
TIME, REWARD, PREV_REWARD = 11, 12, 13
COLUMNS_F64 = 14

# --- columns of its int32 record ---
ON_ROAD, HINT = 0, 4
"""Per wheel: whether it touches a tile, and a tile that it touched last."""
VISITED, TILES, NEW_LAP, NEAR = 8, 9, 10, 11
COLUMNS_INT = 12
