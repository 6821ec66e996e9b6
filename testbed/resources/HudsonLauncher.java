import java.lang.reflect.InvocationTargetException;

/**
 * Starts Hudson's war with the virtual machine vendor that its XStream knows. The machine overrides
 * -Djava.vm.vendor, so it is set here, before any of the war's classes is loaded.
 */
public final class HudsonLauncher {
    private HudsonLauncher() {}

    public static void main(String[] arguments) throws Throwable {
        System.setProperty("java.vm.vendor", "Sun Microsystems Inc.");
        try {
            Class.forName("org.eclipse.hudson.war.Executable")
                    .getMethod("main", String[].class)
                    .invoke(null, (Object) arguments);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }
}
