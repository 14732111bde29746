# The slope per minute of one column of samples.csv by least squares, from second 0 on.
# -v column=NAME; -v less=NAME, -v less_too=NAME: columns that are subtracted, if given.
# Nothing is printed where there are fewer than 3 samples.
BEGIN { FS = "," }
NR == 1 {
    for (i = 1; i <= NF; i++) {
        if ($i == column)
            at = i
        if ($i == less)
            less_at = i
        if ($i == less_too)
            less_too_at = i
    }
    next
}
at && $1 >= 0 && $at != "" {
    n++
    x = $1 / 60
    y = $at - (less_at ? $less_at : 0) - (less_too_at ? $less_too_at : 0)
    if (n == 1)
        y0 = y # keeps large values exact
    y -= y0
    sx += x; sy += y; sxx += x * x; sxy += x * y
}
END {
    if (n >= 3 && n * sxx - sx * sx > 0)
        printf "%.3f\n", (n * sxy - sx * sy) / (n * sxx - sx * sx)
}
