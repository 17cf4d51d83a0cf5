# shot.sh file out width height [args]
chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=$3,$4 --screenshot=$2 --virtual-time-budget=2000 "${@:5}" "file://$1" 2>&1 | grep -v "^\[" | tail -2
